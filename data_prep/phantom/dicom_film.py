"""Makes the DICOM object of a film as in a hospital archive, including values that identify the patient."""

import hashlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from data_prep.phantom.fictitious_people import Person, Visit
from data_prep.phantom.imaging.scanners import EXPLICIT_LE, IMPLICIT_LE, JPEG_2000, JPEG_LOSSLESS_SV1, JPEG_LS
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw
from data_prep.phantom.render_film import RenderedFilm
from data_prep.phantom.report_sentences import WITHOUT_SIDE

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

_VIEW_POSITIONS = {"PA": "PA", "AP": "AP", "LAT": "LL", "OBLIQUE": "RLO"}
_NOT_IDENTIFYING_UIDS = frozenset({"SOPClassUID", "ReferencedSOPClassUID"})
_IDENTIFYING_KEYWORDS = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "PatientComments",
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "ContentDate",
        "StudyTime",
        "AcquisitionTime",
        "StudyID",
        "AccessionNumber",
        "InstitutionName",
        "InstitutionAddress",
        "InstitutionalDepartmentName",
        "StationName",
        "DeviceSerialNumber",
        "StudyDescription",
        "SeriesDescription",
        "ReasonForTheRequestedProcedure",
        "RequestedProcedureID",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepDescription",
        "DetectorID",
        "TextValue",
    }
)


def film_dataset(
    patient: PatientDraw, study: StudyDraw, draw: FilmDraw, film: RenderedFilm, person: Person, visit: Visit
) -> Dataset:
    """Make the data set of one film without its pixels.

    Args:
        patient: draws of the patient.
        study: draws of the study.
        draw: draws of the film.
        film: the rendered film.
        person: identity of the patient.
        visit: identifying facts of the study.
    """
    scanner = study.scanner
    dataset = study_dataset(patient, study, person, visit)
    dataset.SOPClassUID = DX_FOR_PRESENTATION if scanner.modality == "DX" else CR_STORAGE
    dataset.SOPInstanceUID = make_uid(patient, study.index, draw.index, "film")
    dataset.SeriesInstanceUID = make_uid(patient, study.index, draw.view, "series")
    dataset.Modality = scanner.modality
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.manufacturer, scanner.model
    dataset.SeriesDescription = f"{study.body_part.title()} {draw.view} {person.name.split('^')[0]}"
    dataset.SeriesNumber, dataset.InstanceNumber = 1 + draw.index, 1 + draw.index
    dataset.BodyPartExamined = study.body_part
    dataset.ViewPosition = _VIEW_POSITIONS[draw.view]
    if study.body_part not in WITHOUT_SIDE:
        dataset.ImageLaterality = study.side
    if scanner.modality == "DX":
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PresentationLUTShape = "INVERSE" if draw.inverted else "IDENTITY"
        dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if draw.inverted else -1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.KVP = str(film.energy)
    dataset.ImagerPixelSpacing = [f"{film.pitch:.5f}"] * 2
    dataset.BurnedInAnnotation = "NO"
    dataset.WindowCenter, dataset.WindowWidth = (f"{v:.1f}" for v in film.window)
    if scanner.function != "LINEAR":
        dataset.VOILUTFunction = scanner.function
    if (scanner.slope, scanner.intercept) != (1.0, 0.0):
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = (
            f"{scanner.slope:g}",
            f"{scanner.intercept:g}",
            "US",
        )
    dataset.PhotometricInterpretation = "MONOCHROME1" if draw.inverted else "MONOCHROME2"
    return dataset


def study_dataset(patient: PatientDraw, study: StudyDraw, person: Person, visit: Visit) -> Dataset:
    """Make the modules that all objects of a study share: patient, study, institution, staff, order, private elements.

    Args:
        patient: draws of the patient.
        study: draws of the study.
        person: identity of the patient.
        visit: identifying facts of the study.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192" if study.look == 1 else "ISO_IR 100"
    dataset.StudyInstanceUID = make_uid(patient, study.index, "study")
    _fill_patient(dataset, patient, person)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = visit.date
    dataset.StudyTime = dataset.AcquisitionTime = visit.time
    dataset.StudyID, dataset.AccessionNumber = visit.study_id, visit.accession
    dataset.StudyDescription = f"XR {study.body_part.title()} for {visit.referring.split('^')[0]}"
    dataset.InstitutionName, dataset.InstitutionAddress = visit.institution, visit.institution_address
    dataset.InstitutionalDepartmentName, dataset.StationName = visit.department, visit.station
    dataset.DeviceSerialNumber, dataset.DetectorID = visit.serial, f"{visit.serial}P1"
    dataset.ReferringPhysicianName, dataset.PerformingPhysicianName = visit.referring, visit.performing
    dataset.OperatorsName, dataset.NameOfPhysiciansReadingStudy = visit.operator, visit.reading
    dataset.ReasonForTheRequestedProcedure = visit.request
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID = f"RP{visit.accession}", f"SP{visit.accession}"
    order.ScheduledProcedureStepDescription = f"{study.body_part.title()} of {person.name.replace('^', ' ')}"
    order.RequestingPhysician = visit.referring
    dataset.RequestAttributesSequence = Sequence([order])
    earlier = Dataset()
    earlier.ReferencedSOPClassUID, earlier.ReferencedSOPInstanceUID = (
        CR_STORAGE,
        make_uid(patient, study.index, "earlier film"),
    )
    dataset.ReferencedImageSequence = Sequence([earlier])
    return dataset


def _fill_patient(dataset: Dataset, patient: PatientDraw, person: Person) -> None:
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = person.name, person.patient_id, person.issuer
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = person.other_id, "TEXT"
    dataset.OtherPatientIDsSequence = Sequence([other])
    dataset.PatientBirthDate, dataset.PatientSex = person.birth_date, patient.anatomy.sex
    dataset.PatientAge = f"{patient.anatomy.age_years:03d}Y"
    dataset.PatientBirthName, dataset.PatientMotherBirthName = person.birth_name, person.mother
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = person.address, person.phone
    dataset.PatientComments = person.comment
    block = dataset.private_block(0x0011, "QUENBURY RIS 2.1", create=True)
    block.add_new(0x01, "PN", person.name)
    block.add_new(0x02, "LO", f"RISKEY-{person.other_id}")
    block.add_new(0x03, "LT", f"{person.name.split('^')[0]}: {person.comment}")


def set_pixels(dataset: Dataset, values: NDArray[np.uint16], bits: int, syntax: str) -> None:
    """Store pixels in a data set.

    Args:
        dataset: data set, changed in place.
        values: [rows, columns] stored values.
        bits: Bits Stored.
        syntax: transfer syntax UID.
    """
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        1,
        16,
        bits,
        bits - 1,
        0,
    )
    if syntax in (EXPLICIT_LE, IMPLICIT_LE):
        dataset.add_new(0x7FE00010, "OW", values.astype("<u2").tobytes())
        return
    dataset.add_new(0x7FE00010, "OB", encapsulate([_encode_pixels(values, bits, syntax)]))
    dataset["PixelData"].is_undefined_length = True


def _encode_pixels(values: NDArray[np.uint16], bits: int, syntax: str) -> bytes:
    if syntax == JPEG_LOSSLESS_SV1:
        return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits))
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(values))
    if syntax == JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="J2K", reversible=True, bitspersample=bits))
    raise ValueError(f"transfer syntax {syntax} is not supported for writing")


def file_bytes(dataset: Dataset, syntax: str) -> bytes:
    """Encode a data set as a DICOM file (PS3.10).

    Args:
        dataset: data set with pixels, if it has any; its meta information is set.
        syntax: transfer syntax UID.
    """
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def make_uid(patient: PatientDraw, *path: object) -> str:
    """Make a UID (PS3.5 B.2, from a UUID) that is unique to the object ``path`` of a patient of an archive."""
    text = "/".join(map(str, (patient.archive, patient.index, *path)))
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big') >> 6}"


def list_identifying_texts(dataset: Dataset) -> set[str]:
    """List all values of a data set, at any depth, that identify a person, a place, a day or an object."""
    texts: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "SQ" or element.keyword in _NOT_IDENTIFYING_UIDS:
            continue
        if element.VR in ("PN", "UI") or element.tag.is_private or element.keyword in _IDENTIFYING_KEYWORDS:
            texts |= _texts(element.value)
        if element.VR == "PN":
            texts |= {part for part in str(element.value).split("^") if len(part) > 3}
    return {text for text in texts if text}


def _texts(value: Any) -> set[str]:
    return {str(part) for part in value} if isinstance(value, (list, tuple)) else {str(value)}
