"""Whether a header is of an animal, by the attributes that DICOM has for it (PS3.3 C.7.1.1)."""

from pydicom.dataset import Dataset

SPECIES_ELEMENTS = (
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence"),
    *("PatientSexNeutered", "ResponsiblePersonRole"),
)
"""Keywords of the elements that are read."""
_HUMAN_CODES = frozenset({"337915000", "L-85B00", "9606"})
"""Homo sapiens in SNOMED CT, SNOMED RT and the taxonomy of the NCBI."""
_HUMAN_WORDS = ("HOMO SAPIENS", "HUMAN", "MENSCH")
_OWNER = "OWNER"


def is_animal(header: Dataset) -> bool:
    """Whether a species other than man, a breed, a neutered sex or an owner is stated; a human species decides.

    Args:
        header: with SPECIES_ELEMENTS, where the file has them.
    """
    species = _words(header, "PatientSpeciesDescription")
    items = [item for item in header.get("PatientSpeciesCodeSequence") or () if isinstance(item, Dataset)]
    codes = {code for item in items if (code := _words(item, "CodeValue"))}
    meanings = [_words(item, "CodeMeaning") for item in items]
    if codes & _HUMAN_CODES or any(text.startswith(_HUMAN_WORDS) for text in (species, *meanings)):
        return False
    is_bred = any(header.get(keyword) for keyword in SPECIES_ELEMENTS[2:5])
    return bool(species or codes or any(meanings) or is_bred) or _words(header, "ResponsiblePersonRole") == _OWNER


def _words(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip().upper()
