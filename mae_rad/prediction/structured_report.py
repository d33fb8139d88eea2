"""Predictions as DICOM Structured Reports: Comprehensive SR with TID 1500 (PS3.16).

Every label is a measurement group (TID 1501) of the film: the concept, the certainty of the finding in percent (the
calibrated probability, or the highest score of a box), and for each operating point whether it is reached. Every box
that counts as found is a planar region (TID 1410) in pixels of the film. An answer of several classes is a coded value
with its certainty: body parts (Target Region) of CID 4031, views of CID 4010, where the standard knows them. A number
is a measurement with its UCUM unit. The document is preliminary and not verified; patient and study are those of the
film.
"""

import csv
import io
from functools import cache
from importlib import resources

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes

from mae_rad.prediction.dicom_document import (
    MANUFACTURER,
    Author,
    derived_uid,
    frames_of,
    with_required_attributes,
)
from mae_rad.prediction.record import Finding, FoundBox, PredictedClass, PredictedNumber, Record

PRIVATE_SCHEME = "99MAERAD"
"""Designator of private codes, for concepts without a single SNOMED CT code."""
SERIES_NUMBER = 9900
_UCUM = {"months": "mo", "years": "a", "days": "d", "weeks": "wk", "mm": "mm", "cm": "cm", "%": "%", "degrees": "deg"}
"""Unit of a number → its UCUM code; any other unit becomes an annotation, which UCUM allows for every word."""


def structured_report(header: Dataset, record: Record, author: Author) -> sr.ComprehensiveSR:
    """Build the report of one film.

    Args:
        header: patient, study and object attributes of the film.
        record: the predictions.
        author: the model.

    Returns:
        A preliminary, unverified Comprehensive SR.
    """
    film = with_required_attributes(header)
    groups = [_finding_group(film, record, one, author) for one in record.findings]
    groups += [_box_group(film, record, box, author, place) for place, box in enumerate(record.boxes) if box.found]
    groups += [_class_group(film, record, answer, author) for answer in record.classes]
    groups += [_number_group(film, record, number, author) for number in record.numbers]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(author)),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[film],
        content=report[0],
        series_instance_uid=derived_uid(author, "series", film.StudyInstanceUID),
        series_number=SERIES_NUMBER,
        series_description=f"{author.name} by a model, for research",
        sop_instance_uid=derived_uid(author, "document", film.SOPInstanceUID, str(record.frame)),
        instance_number=record.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=author.name,
        software_versions=author.program,
        device_serial_number=author.version,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def encode_report(report: sr.ComprehensiveSR) -> bytes:
    """Encode a report as the bytes of a DICOM file."""
    file = io.BytesIO()
    report.save_as(file)
    return file.getvalue()


def concept(kind: str, term: str) -> sr.CodedConcept:
    """Look up the coded concept of a finding, a class, a question or a number.

    Args:
        kind: ``finding``, ``question``, ``number``, or the index column of a class, such as ``body_part``.
        term: name of the label, the class, or the index column.

    Returns:
        The concept of concepts.csv, else a private code.
    """
    return _concepts().get((kind, term)) or sr.CodedConcept(term[:64], PRIVATE_SCHEME, term.replace("_", " ")[:64])


@cache
def _concepts() -> dict[tuple[str, str], sr.CodedConcept]:
    text = (resources.files("mae_rad.prediction") / "concepts.csv").read_text(encoding="utf-8")
    return {
        (row["kind"], row["word"]): sr.CodedConcept(row["value"], row["scheme"], row["meaning"])
        for row in csv.DictReader(text.splitlines())
    }


def _finding_group(
    film: Dataset, record: Record, finding: Finding, author: Author
) -> sr.MeasurementsAndQualitativeEvaluations:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking_identifier(author, film, record, finding.label, "film"),
        finding_type=concept("finding", finding.label),
        algorithm_id=_algorithm(author, finding.label),
        finding_sites=_sites(record),
        measurements=[_certainty(finding.score)],
        qualitative_evaluations=_evaluations(finding, record, author),
        source_images=[
            sr.SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID, frames_of(film, record))
        ],
    )


def _class_group(
    film: Dataset, record: Record, answer: PredictedClass, author: Author
) -> sr.MeasurementsAndQualitativeEvaluations:
    """The predicted class as a coded value, and its probability; the site of the header may be what it contradicts."""
    question = answer.column or answer.label
    code = sr.QualitativeEvaluation(
        name=concept("question", question), value=concept(answer.column or "class", answer.predicted)
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking_identifier(author, film, record, answer.label, "film"),
        algorithm_id=_algorithm(author, answer.label),
        measurements=[_certainty(answer.probabilities[answer.predicted])],
        qualitative_evaluations=[code, *_doubts(answer.label, record, author)],
        source_images=[
            sr.SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID, frames_of(film, record))
        ],
    )


def _number_group(
    film: Dataset, record: Record, number: PredictedNumber, author: Author
) -> sr.MeasurementsAndQualitativeEvaluations:
    unit = sr.CodedConcept(
        _UCUM.get(number.unit, f"{{{number.unit}}}" if number.unit else "1")[:16],
        "UCUM",
        number.unit[:64] or "no units",
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking_identifier(author, film, record, number.label, "film"),
        algorithm_id=_algorithm(author, number.label),
        finding_sites=_sites(record),
        measurements=[sr.Measurement(name=concept("number", number.label), value=round(number.value, 4), unit=unit)],
        qualitative_evaluations=_doubts(number.label, record, author),
        source_images=[
            sr.SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID, frames_of(film, record))
        ],
    )


def _box_group(
    film: Dataset, record: Record, box: FoundBox, author: Author, place: int
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    corners = [
        (box.x_min, box.y_min),
        (box.x_max, box.y_min),
        (box.x_max, box.y_max),
        (box.x_min, box.y_max),
        (box.x_min, box.y_min),  # a polyline that ends where it begins is a closed region (PS3.3 C.18.6.1.2)
    ]
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(corners, dtype=np.float32),
        source_image=sr.SourceImageForRegion(film.SOPClassUID, film.SOPInstanceUID, frames_of(film, record)),
    )
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking_identifier(author, film, record, box.label, f"box {place + 1}"),
        referenced_region=region,
        finding_type=concept("finding", box.label),
        algorithm_id=_algorithm(author, box.label),
        finding_sites=_sites(record),
        measurements=[_certainty(box.score)],
        qualitative_evaluations=_evaluations(box, record, author),
    )


def _certainty(value: float) -> sr.Measurement:
    return sr.Measurement(
        name=codes.DCM.CertaintyOfFinding, value=round(100 * value, 4), unit=sr.CodedConcept("%", "UCUM", "percent")
    )


def _evaluations(finding: Finding, record: Record, author: Author) -> list[sr.QualitativeEvaluation]:
    """Whether each operating point is reached, and what must be known before believing it, under private codes."""
    points = [
        _yes_or_no(point, f"Reaches the operating point {point}", is_reached)
        for point, is_reached in finding.reached.items()
    ]
    return points + _doubts(finding.label, record, author)


def _doubts(label: str, record: Record, author: Author) -> list[sr.QualitativeEvaluation]:
    """What must be known before believing the answer about ``label``."""
    doubts = []
    if label in author.chance_warnings:
        measured = author.chance_warnings[label].partition(" on ")[0]
        doubts.append(_yes_or_no("not_shown_above_chance", f"Not shown above chance: {measured}", True))
    if record.reason:
        doubts.append(_yes_or_no("out_of_scope", f"Is a guess: {record.reason.replace('_', ' ')}", True))
    return doubts


def _yes_or_no(code: str, meaning: str, is_true: bool) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(
        name=sr.CodedConcept(code[:64], PRIVATE_SCHEME, meaning[:64]),
        value=codes.SCT.Yes if is_true else codes.SCT.No,
    )


def _sites(record: Record) -> list[sr.FindingSite] | None:
    return [sr.FindingSite(concept("body_part", record.body_part))] if record.body_part else None


def _algorithm(author: Author, label: str) -> sr.AlgorithmIdentification:
    thresholds = [f"{point}: {of[label]:.6g}" for point, of in author.points.items() if label in of]
    return sr.AlgorithmIdentification(
        name=f"{MANUFACTURER} {author.name}", version=author.version, parameters=thresholds or None
    )


def _observer(author: Author) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid(author, "device"),
            name=f"{author.name} model",
            manufacturer_name=MANUFACTURER,
            model_name=author.name,
            serial_number=author.version,
        ),
    )


def _tracking_identifier(author: Author, film: Dataset, record: Record, *names: str) -> sr.TrackingIdentifier:
    uid = derived_uid(author, "finding", film.SOPInstanceUID, str(record.frame), *names)
    frame = [f"frame {record.frame}"] if record.frame else []  # the only place of a frame in a single-frame class
    return sr.TrackingIdentifier(uid=uid, identifier=", ".join([*names, *frame]))
