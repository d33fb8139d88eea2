"""Structured Reports, read back by highdicom, hold the content of the record."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr import _concepts_dict as of_the_standard
from pydicom.sr.codedict import codes

from data_prep.sharding.single_film import ArchiveFile, PreparationSettings, read_films, silence_libraries
from mae_rad.prediction.dicom_document import Author
from mae_rad.prediction.record import Finding, FoundBox, Record
from mae_rad.prediction.structured_report import (
    PRIVATE_SCHEME,
    _concepts,
    concept,
    encode_report,
    structured_report,
)
from tests.builders.dicom_builder import CR, uid, write_film
from tests.builders.private_builder import anatomy

AUTHOR = Author("classification", "0123456789abcdef", "1.0", "a run", {"sensitivity_90": {"fracture": 0.25}}, {})
PRIVATE_QUESTION = CodedConcept("region", PRIVATE_SCHEME, "region")
PRIVATE_CLASS = CodedConcept("pneumonia", PRIVATE_SCHEME, "pneumonia")
OUTSIDE_ITS_CONTEXT_GROUP: dict[str, set[str]] = {"body_part": {"FACE", "NOSE", "TEETH"}, "view": set()}
"""Body parts with a concept of Annex L that CID 4031 does not list."""
PERCENT = CodedConcept("%", "UCUM", "percent")


def header(path: Path, **attributes: Any) -> Dataset:
    patient = {"PatientName": "DOE^JANE", "patient_id": "MRN-1", "AccessionNumber": "A1"}
    write_film(path, values=anatomy("film"), **patient | attributes)
    (film,) = read_films(ArchiveFile(str(path), path.name), PreparationSettings())
    assert film.header is not None
    return film.header


def record(**fields: Any) -> Record:
    findings = (
        Finding(label="fracture", score=0.87321, reached={"sensitivity_90": True}),
        Finding(label="jewellery_clothing", score=0.04, reached={}),
    )
    values = {"number": 7, "path": "p", "size": 1, "changed": 1, "status": "answered", "body_part": "HAND"}
    return Record.model_validate(values | {"findings": findings} | fields)


def box(**fields: Any) -> FoundBox:
    corners = {"x_min": 10.25, "y_min": 20.0, "x_max": 30.5, "y_max": 44.0}
    return FoundBox.model_validate(
        {"label": "fracture", "score": 0.6, "reached": {"sensitivity_90": True}} | corners | fields
    )


def test_a_label_at_chance_says_so_in_its_group(tmp_path: Path) -> None:
    why = "AUROC 0.550 [0.450, 0.650] on 40 test films: the interval includes chance (0.5)"
    author = AUTHOR._replace(chance_warnings={"fracture": why})
    document = structured_report(header(tmp_path / "film.dcm"), record(), author)
    groups = hd.sr.MeasurementReport.from_sequence([read_back(document)]).get_image_measurement_groups()
    meanings = [[one.name.meaning for one in group.get_qualitative_evaluations()] for group in groups]
    assert meanings[0][-1] == "Not shown above chance: AUROC 0.550 [0.450, 0.650]"
    assert not any("chance" in meaning for meaning in meanings[1])


def read_back(document: Any) -> Any:
    """As another program reads it."""
    return hd.sr.ComprehensiveSR.from_dataset(pydicom.dcmread(io.BytesIO(encode_report(document))))


def test_a_report_has_findings_with_certainty_and_operating_points(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, record(), AUTHOR))
    groups = document.content.get_image_measurement_groups()
    assert [group.finding_type for group in groups] == [
        CodedConcept("125605004", "SCT", "Fracture of bone"),
        CodedConcept("jewellery_clothing", PRIVATE_SCHEME, "jewellery clothing"),
    ]
    certainties = [group.get_measurements(codes.DCM.CertaintyOfFinding) for group in groups]
    assert [(one.value, one.unit) for (one,) in certainties] == [(87.321, PERCENT), (4.0, PERCENT)]
    (reached,) = groups[0].get_qualitative_evaluations()
    assert reached.value == codes.SCT.Yes
    assert reached.name.value == "sensitivity_90"
    assert groups[1].get_qualitative_evaluations() == []
    for group in groups:
        (site,) = group.finding_sites
        assert site.value == codes.SCT.Hand
        (source,) = group.source_images
        assert source.referenced_sop_instance_uid == film.SOPInstanceUID
        assert source.referenced_sop_class_uid == CR
    assert "sensitivity_90: 0.25" in [one.value for one in document.iterall() if one.keyword == "TextValue"]
    assert AUTHOR.version in str(document)


def test_a_report_out_of_scope_states_that_it_is_a_guess(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, record(reason="body_part_not_in_training", boxes=(box(),)), AUTHOR))
    groups = [
        *document.content.get_image_measurement_groups(),
        *document.content.get_planar_roi_measurement_groups(),
    ]
    assert len(groups) == 3
    for group in groups:
        marked = [one for one in group.get_qualitative_evaluations() if one.name.value == "out_of_scope"]
        assert [(one.name.meaning, one.value) for one in marked] == [
            ("Is a guess: body part not in training", codes.SCT.Yes)
        ]


def test_a_report_has_boxes_as_closed_regions_in_pixels_of_the_film(tmp_path: Path) -> None:
    boxes = (box(), box(label="foreign_object", reached={"sensitivity_90": False}))
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, record(boxes=boxes), AUTHOR))
    (group,) = document.content.get_planar_roi_measurement_groups()
    assert group.roi.graphic_type is hd.sr.GraphicTypeValues.POLYLINE
    corners = [[10.25, 20], [30.5, 20], [30.5, 44], [10.25, 44], [10.25, 20]]
    np.testing.assert_array_equal(group.roi.value, corners)
    (certainty,) = group.get_measurements(codes.DCM.CertaintyOfFinding)
    assert certainty.value == 60
    region = group.referenced_region if hasattr(group, "referenced_region") else group.roi
    assert film.SOPInstanceUID in str(region)


def test_the_document_is_of_the_patient_and_preliminary(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, record(), AUTHOR))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert document[keyword].value == film[keyword].value
    assert document.SeriesInstanceUID != film.SeriesInstanceUID
    assert (document.CompletionFlag, document.PreliminaryFlag) == ("COMPLETE", "PRELIMINARY")
    assert document.VerificationFlag == "UNVERIFIED"
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID


def test_identifiers_are_equal_within_a_run_and_differ_between_runs(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    one, same = (structured_report(film, record(), AUTHOR) for _ in range(2))
    other = structured_report(film, record(), AUTHOR._replace(run="another"))
    assert one.SOPInstanceUID == same.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID == same.SeriesInstanceUID != other.SeriesInstanceUID
    second = structured_report(film, record(frame=2, frames=2), AUTHOR)
    assert one.SOPInstanceUID != second.SOPInstanceUID
    assert one.SeriesInstanceUID == second.SeriesInstanceUID


@pytest.mark.parametrize(("sop_class", "frames"), [("1.2.840.10008.5.1.4.1.1.7.2", [2]), (None, None)])
def test_a_report_references_the_frame_of_a_class_that_has_frames(
    sop_class: str | None, frames: list[int] | None, tmp_path: Path
) -> None:
    """In a single-frame class, whose files some devices fill with several frames, words name the frame."""
    film = header(tmp_path / "film.dcm")
    film.NumberOfFrames = 2
    if sop_class:
        film.SOPClassUID = sop_class
    document = read_back(structured_report(film, record(frame=2, frames=2, boxes=(box(),)), AUTHOR))
    for group in document.content.get_image_measurement_groups():
        found = group.source_images[0].referenced_frame_numbers
        assert (None if found is None else list(found)) == frames
        assert group.tracking_identifier.endswith("frame 2")


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientName": None, "study": None},
        {"PatientBirthDate": "17.03.1961", "PatientSex": "W", "PatientAge": "044"},
        {"StudyTime": "25:61", "StudyDate": "2020.01.31"},
        {"StudyDate": "20200230", "PatientBirthDate": "19990231"},
        {"patient_id": "X" * 80, "AccessionNumber": "Y" * 40},
        {"PatientName": "MÜLLER^JÖRG", "SpecificCharacterSet": "ISO_IR 100"},
        {"sop": "999.999.01.23"},
    ],
)
def test_headers_with_invalid_values_give_a_report(attributes: dict[str, Any], tmp_path: Path) -> None:
    with silence_libraries():
        film = header(tmp_path / "film.dcm", **attributes)
        document = read_back(structured_report(film, record(), AUTHOR))
        assert len(document.content.get_image_measurement_groups()) == 2
        if attributes.get("PatientName"):
            assert document.PatientName == attributes["PatientName"]


def answered(label: str, predicted: str, column: str = "", **fields: Any) -> Record:
    classes = (
        {"label": label, "predicted": predicted, "column": column, "probabilities": {predicted: 0.91, "x": 0.09}},
    )
    return record(findings=(), classes=classes, **fields)


@pytest.mark.parametrize(
    ("column", "predicted", "question", "value"),
    [
        ("body_part", "WRIST", codes.DCM.TargetRegion, codes.SCT.WristJoint),
        ("view", "LATERAL", codes.DCM.ImageView, codes.cid4010.LateralProjection),
        ("laterality", "L", codes.DCM.ImageLaterality, codes.cid244.Left),
        ("sex", "F", codes.DCM.SubjectSex, codes.cid7455.Female),
        ("", "pneumonia", PRIVATE_QUESTION, PRIVATE_CLASS),
    ],
)  # fmt: skip
def test_a_class_is_a_coded_value_with_its_certainty(
    column: str, predicted: str, question: Any, value: Any, tmp_path: Path
) -> None:
    document = read_back(
        structured_report(header(tmp_path / "film.dcm"), answered("region", predicted, column), AUTHOR)
    )
    (group,) = document.content.get_image_measurement_groups()
    (answer,) = group.get_qualitative_evaluations()
    assert answer.name == question
    assert answer.value == value
    (certainty,) = group.get_measurements(codes.DCM.CertaintyOfFinding)
    assert (certainty.value, certainty.unit) == (91.0, PERCENT)
    assert group.finding_sites in (None, [])  # the header may name the part that the answer contradicts


def test_a_doubtful_class_says_so(tmp_path: Path) -> None:
    author = AUTHOR._replace(chance_warnings={"region": "macro AUROC 0.520 [0.480, 0.560] on 40 test films: …"})
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, answered("region", "HAND", "body_part", reason="no_view"), author))
    (group,) = document.content.get_image_measurement_groups()
    meanings = [one.name.meaning for one in group.get_qualitative_evaluations()]
    assert meanings[1:] == ["Not shown above chance: macro AUROC 0.520 [0.480, 0.560]", "Is a guess: no view"]


@pytest.mark.parametrize(("unit", "code"), [("months", "mo"), ("", "1"), ("points", "{points}")])
def test_a_number_is_a_measurement_with_its_unit(unit: str, code: str, tmp_path: Path) -> None:
    numbers = ({"label": "bone_age", "value": 132.25, "unit": unit},)
    film = header(tmp_path / "film.dcm")
    document = read_back(structured_report(film, record(findings=(), numbers=numbers), AUTHOR))
    (group,) = document.content.get_image_measurement_groups()
    (number,) = group.get_measurements()
    assert number.name == CodedConcept("bone_age", PRIVATE_SCHEME, "bone age")
    assert number.value == 132.25
    assert (number.unit.value, number.unit.scheme_designator) == (code, "UCUM")


def test_every_code_is_one_of_the_standard() -> None:
    known = {
        (scheme, value)
        for scheme in ("SCT", "DCM")
        for of_keyword in of_the_standard.concepts[scheme].values()
        for value in of_keyword
    }
    concept_codes = {name: (code.scheme_designator, code.value) for name, code in _concepts().items()}
    assert {word for word, value in concept_codes.items() if value not in known} == {("finding", "fracture")}
    for kind, keyword in (("body_part", "cid4031"), ("view", "cid4010")):
        of_standard = {getattr(getattr(codes, keyword), name).value for name in getattr(codes, keyword).dir()}
        ours = {word: value for (of, word), (_, value) in concept_codes.items() if of == kind}
        outside = {word for word, value in ours.items() if value not in of_standard}
        assert outside == OUTSIDE_ITS_CONTEXT_GROUP[kind]
    for name, keyword in (("HAND", "Hand"), ("CHEST", "Chest"), ("KNEE", "Knee"), ("SHOULDER", "Shoulder")):
        assert concept("body_part", name).value == getattr(codes.SCT, keyword).value
    assert concept("finding", "foreign_object").value == codes.SCT.ForeignBody.value


def test_every_body_part_of_the_vocabulary_has_a_code() -> None:
    from data_prep import deidentify

    words = Path(deidentify.__file__).parent / "words" / "body_part.txt"
    lines = words.read_text(encoding="utf-8").splitlines()
    parts = {line.partition(":")[0] for line in lines if line[:1].isupper()}
    assert {word for kind, word in _concepts() if kind == "body_part"} == parts


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm", PatientBirthDate="19610317", sop=uid("valid"))
    (tmp_path / "report.dcm").write_bytes(encode_report(structured_report(film, record(boxes=(box(),)), AUTHOR)))
    concept_codes = subprocess.run(
        ["dciodvfy", str(tmp_path / "report.dcm")], capture_output=True, text=True, check=False
    )
    errors = [line for line in concept_codes.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
    assert "ComprehensiveSR" in concept_codes.stderr


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),  # PS3.5 annex H
        ("ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),  # PS3.5 annex I
    ],
)
def test_names_in_several_character_sets_are_kept(characters: str, name: str, tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    film.SpecificCharacterSet = ["", characters]
    film.PatientName = name
    assert read_back(structured_report(film, record(), AUTHOR)).PatientName == name
