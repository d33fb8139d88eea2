"""An answer as a DICOM object that a PACS keeps beside the film: Comprehensive SR by TID 1500 (PS3.16).

Every label is a measurement group (TID 1501) of the film: the concept, the certainty that the model places on it in
percent (the calibrated probability, or the highest score of a box), and for each operating point whether it is reached.
Every box that is found is a planar region (TID 1410) in the pixels of the film. The document is preliminary and
not verified; patient and study are those of the film.
"""

import csv
import io
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from highdicom import sr
from pydicom import DataElement, Dataset, config
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, validate_value

from mae_rad.prediction.record import Finding, FoundBox, Record

OWN_SCHEME = "99MAERAD"
"""Designator of codes of our own, for what SNOMED CT has no single concept for."""
MANUFACTURER = "mae_rad"
SERIES_NUMBER = 9900
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""May be empty, but has to be there."""


class Author(NamedTuple):
    """The model that answers.

    Attributes:
        name: of its task.
        version: what tells it from others: the beginning of its weights' checksum.
        program: version of this program.
        run: of the predictions; makes the UIDs, so that the same run writes the same ones.
        points: operating point → label → threshold.
    """

    name: str
    version: str
    program: str
    run: str
    points: dict[str, dict[str, float]]


def structured_report(header: Dataset, record: Record, author: Author) -> sr.ComprehensiveSR:
    """The document of one film.

    Args:
        header: what the film's header says of patient, study and object.
        record: the answer.
        author: whose it is.
    """
    film = _complete(header)
    groups = [_finding(film, record, one, author) for one in record.findings]
    groups += [_box(film, record, box, author, place) for place, box in enumerate(record.boxes) if box.found]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(author)),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[film],
        content=report[0],
        series_instance_uid=_uid(author, "series", film.StudyInstanceUID),
        series_number=SERIES_NUMBER,
        series_description=f"{author.name} by a model, for research",
        sop_instance_uid=_uid(author, "document", film.SOPInstanceUID, str(record.frame)),
        instance_number=record.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=author.name,
        software_versions=author.program,
        device_serial_number=author.version,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def encoded(report: sr.ComprehensiveSR) -> bytes:
    """The document as a DICOM file."""
    file = io.BytesIO()
    report.save_as(file)
    return file.getvalue()


def concept(kind: str, word: str) -> sr.CodedConcept:
    """The coded concept of a finding or body part: of concepts.csv, else a code of our own."""
    return _concepts().get((kind, word)) or sr.CodedConcept(word[:64], OWN_SCHEME, word.replace("_", " ")[:64])


@cache
def _concepts() -> dict[tuple[str, str], sr.CodedConcept]:
    text = (resources.files("mae_rad.prediction") / "concepts.csv").read_text(encoding="utf-8")
    return {
        (row["kind"], row["word"]): sr.CodedConcept(row["value"], row["scheme"], row["meaning"])
        for row in csv.DictReader(text.splitlines())
    }


def _finding(
    film: Dataset, record: Record, finding: Finding, author: Author
) -> sr.MeasurementsAndQualitativeEvaluations:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(author, film, record, finding.label, "film"),
        finding_type=concept("finding", finding.label),
        algorithm_id=_algorithm(author, finding.label),
        finding_sites=_sites(record),
        measurements=[_certainty(finding.score)],
        qualitative_evaluations=_evaluations(finding.reached, record),
        source_images=[sr.SourceImageForMeasurementGroup(*_source(film, record))],
    )


def _box(
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
        source_image=sr.SourceImageForRegion(*_source(film, record)),
    )
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(author, film, record, box.label, f"box {place + 1}"),
        referenced_region=region,
        finding_type=concept("finding", box.label),
        algorithm_id=_algorithm(author, box.label),
        finding_sites=_sites(record),
        measurements=[_certainty(box.score)],
        qualitative_evaluations=_evaluations(box.reached, record),
    )


def _certainty(value: float) -> sr.Measurement:
    return sr.Measurement(
        name=codes.DCM.CertaintyOfFinding, value=round(100 * value, 4), unit=sr.CodedConcept("%", "UCUM", "percent")
    )


def _evaluations(reached: dict[str, bool], record: Record) -> list[sr.QualitativeEvaluation]:
    """Whether each threshold is reached, and whether the answer is a guess; the codes of the names are ours."""
    told = [(point, f"Reaches the operating point {point}", is_reached) for point, is_reached in reached.items()]
    if record.reason:
        told.append(("out_of_scope", f"Is a guess: {record.reason.replace('_', ' ')}", True))
    return [
        sr.QualitativeEvaluation(
            name=sr.CodedConcept(code[:64], OWN_SCHEME, meaning[:64]),
            value=codes.SCT.Yes if is_true else codes.SCT.No,
        )
        for code, meaning, is_true in told
    ]


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
            uid=_uid(author, "device"),
            name=f"{author.name} model",
            manufacturer_name=MANUFACTURER,
            model_name=author.name,
            serial_number=author.version,
        ),
    )


def _tracked(author: Author, film: Dataset, record: Record, *names: str) -> sr.TrackingIdentifier:
    uid = _uid(author, "finding", film.SOPInstanceUID, str(record.frame), *names)
    return sr.TrackingIdentifier(uid=uid, identifier=", ".join(names))


def _source(film: Dataset, record: Record) -> tuple[str, str, Sequence[int] | None]:
    """Class, instance and frame of the film; a frame also where the class of the file knows none."""
    return film.SOPClassUID, film.SOPInstanceUID, [record.frame] if record.frame else None


def _allowed(element: DataElement) -> bool:
    if element.keyword == "PatientSex" and element.value not in ("", "M", "F", "O"):  # PS3.3 C.7.1.1
        return False
    try:
        validate_value(element.VR, str(element.value), config.RAISE)
        if element.VR == "DA":
            DA(str(element.value))  # 30 February has the form of a date and is none
    except ValueError:
        return False
    return True


def _uid(author: Author, *names: str) -> UID:
    """A UID that is the same for the same run, film and purpose, and no other."""
    return UID(generate_uid(entropy_srcs=[author.run, author.version, *names]))


def _complete(header: Dataset) -> Dataset:
    """A copy with all that has to be there: empty where the file tells nothing, or nothing that DICOM allows.

    UIDs that the file does not tell are made from others.
    """
    film = Dataset()
    film.update(header)
    for keyword in _TYPE_2:
        if keyword not in film or not _allowed(film[keyword]):
            setattr(film, keyword, "")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if keyword not in film:
            setattr(film, keyword, generate_uid(entropy_srcs=[keyword, str(film.SOPInstanceUID)]))
    return film
