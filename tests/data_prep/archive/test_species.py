"""Films of animals are told from those of people."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from data_prep.archive.species import is_animal


def _header(**values: Any) -> Dataset:
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def _coded(value: str, meaning: str) -> list[Dataset]:
    return [_header(CodeValue=value, CodeMeaning=meaning, CodingSchemeDesignator="SCT")]


@pytest.mark.parametrize(
    "values",
    [
        {"PatientSpeciesDescription": "Canine", "PatientBreedDescription": "Beagle"},
        {"PatientSpeciesCodeSequence": _coded("448771007", "Canis lupus familiaris")},
        {"PatientBreedDescription": "Maine Coon"},
        {"PatientBreedCodeSequence": _coded("132447002", "Siamese cat breed")},
        {"PatientSexNeutered": "ALTERED"},
        {"ResponsiblePersonRole": "OWNER"},
    ],
)
def test_species_breed_neutering_and_owner_mean_an_animal(values: dict[str, Any]) -> None:
    assert is_animal(_header(**values))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesDescription": "Human", "PatientBreedDescription": "-"},
        {"PatientSpeciesCodeSequence": _coded("337915000", "Homo sapiens (organism)")},
        {"ResponsiblePersonRole": "MOTHER"},
        {"PatientSpeciesDescription": "", "PatientBreedDescription": "", "PatientSexNeutered": ""},
    ],
)
def test_people_stay(values: dict[str, Any]) -> None:
    assert not is_animal(_header(**values))
