"""A film as a DICOM object of a hospital archive, with all that identifies the patient and must not get out."""

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
from data_prep.phantom.imaging.scanners import EXPLICIT_LE, IMPLICIT_LE, JPEG_2000, JPEG_LOSSLESS_SV1, JPEG_LS, LOOKS
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw
from data_prep.phantom.render_film import RenderedFilm

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

_VIEW_WORDS = {"PA": "PA", "AP": "AP", "LAT": "LL", "OBLIQUE": "RLO"}
_STRUCTURE = frozenset({"SOPClassUID", "ReferencedSOPClassUID"})
_IDENTIFYING = frozenset(
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
    """The data set of one film without its pixels."""
    look = LOOKS[study.look]
    out = patient_study(patient, study, person, visit)
    out.SOPClassUID = DX_FOR_PRESENTATION if look.modality == "DX" else CR_STORAGE
    out.SOPInstanceUID = uid(patient, study.index, draw.index, "film")
    out.SeriesInstanceUID = uid(patient, study.index, draw.view, "series")
    out.Modality = look.modality
    out.Manufacturer, out.ManufacturerModelName = look.manufacturer, look.model
    out.SeriesDescription = f"{study.body_part.title()} {draw.view} {person.name.split('^')[0]}"
    out.SeriesNumber, out.InstanceNumber = 1 + draw.index, 1 + draw.index
    out.BodyPartExamined = study.body_part
    out.ViewPosition = _VIEW_WORDS[draw.view]
    if study.body_part != "CHEST":
        out.ImageLaterality = study.side
    if look.modality == "DX":
        out.PresentationIntentType = "FOR PRESENTATION"
        out.PresentationLUTShape = "INVERSE" if draw.inverted else "IDENTITY"
        out.PixelIntensityRelationship, out.PixelIntensityRelationshipSign = "LOG", 1 if draw.inverted else -1
    out.ImageType = ["ORIGINAL", "PRIMARY", ""]
    out.KVP = str(film.energy)
    out.ImagerPixelSpacing = [f"{film.pitch:.5f}"] * 2
    out.BurnedInAnnotation = "NO"
    out.WindowCenter, out.WindowWidth = (f"{v:.1f}" for v in film.window)
    if look.function != "LINEAR":
        out.VOILUTFunction = look.function
    if (look.slope, look.intercept) != (1.0, 0.0):
        out.RescaleSlope, out.RescaleIntercept, out.RescaleType = f"{look.slope:g}", f"{look.intercept:g}", "US"
    out.PhotometricInterpretation = "MONOCHROME1" if draw.inverted else "MONOCHROME2"
    return out


def patient_study(patient: PatientDraw, study: StudyDraw, person: Person, visit: Visit) -> Dataset:
    """The modules that all objects of a study share: patient, study, place, staff, order, private notes."""
    out = Dataset()
    out.SpecificCharacterSet = "ISO_IR 192" if study.look == 1 else "ISO_IR 100"
    out.StudyInstanceUID = uid(patient, study.index, "study")
    _fill_patient(out, patient, person)
    out.StudyDate = out.SeriesDate = out.AcquisitionDate = out.ContentDate = visit.date
    out.StudyTime = out.AcquisitionTime = visit.time
    out.StudyID, out.AccessionNumber = visit.study_id, visit.accession
    out.StudyDescription = f"XR {study.body_part.title()} for {visit.referring.split('^')[0]}"
    out.InstitutionName, out.InstitutionAddress = visit.institution, visit.institution_address
    out.InstitutionalDepartmentName, out.StationName = visit.department, visit.station
    out.DeviceSerialNumber, out.DetectorID = visit.serial, f"{visit.serial}P1"
    out.ReferringPhysicianName, out.PerformingPhysicianName = visit.referring, visit.performing
    out.OperatorsName, out.NameOfPhysiciansReadingStudy = visit.operator, visit.reading
    out.ReasonForTheRequestedProcedure = visit.request
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID = f"RP{visit.accession}", f"SP{visit.accession}"
    order.ScheduledProcedureStepDescription = f"{study.body_part.title()} of {person.name.replace('^', ' ')}"
    order.RequestingPhysician = visit.referring
    out.RequestAttributesSequence = Sequence([order])
    earlier = Dataset()
    earlier.ReferencedSOPClassUID, earlier.ReferencedSOPInstanceUID = (
        CR_STORAGE,
        uid(patient, study.index, "earlier film"),
    )
    out.ReferencedImageSequence = Sequence([earlier])
    return out


def _fill_patient(out: Dataset, patient: PatientDraw, person: Person) -> None:
    out.PatientName, out.PatientID, out.IssuerOfPatientID = person.name, person.patient_id, person.issuer
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = person.other_id, "TEXT"
    out.OtherPatientIDsSequence = Sequence([other])
    out.PatientBirthDate, out.PatientSex = person.birth_date, patient.anatomy.sex
    out.PatientAge = f"{patient.anatomy.age_years:03d}Y"
    out.PatientBirthName, out.PatientMotherBirthName = person.birth_name, person.mother
    out.PatientAddress, out.PatientTelephoneNumbers = person.address, person.phone
    out.PatientComments = person.comment
    block = out.private_block(0x0011, "QUENBURY RIS 2.1", create=True)
    block.add_new(0x01, "PN", person.name)
    block.add_new(0x02, "LO", f"RISKEY-{person.other_id}")
    block.add_new(0x03, "LT", f"{person.name.split('^')[0]}: {person.comment}")


def set_pixels(out: Dataset, values: NDArray[np.uint16], bits: int, syntax: str) -> None:
    """Store ``values`` [rows, columns] in transfer syntax ``syntax``."""
    out.Rows, out.Columns = values.shape
    out.SamplesPerPixel, out.BitsAllocated, out.BitsStored, out.HighBit, out.PixelRepresentation = (
        1,
        16,
        bits,
        bits - 1,
        0,
    )
    if syntax in (EXPLICIT_LE, IMPLICIT_LE):
        out.add_new(0x7FE00010, "OW", values.astype("<u2").tobytes())
        return
    out.add_new(0x7FE00010, "OB", encapsulate([_coded(values, bits, syntax)]))
    out["PixelData"].is_undefined_length = True


def _coded(values: NDArray[np.uint16], bits: int, syntax: str) -> bytes:
    if syntax == JPEG_LOSSLESS_SV1:
        return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits))
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(values))
    if syntax == JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="J2K", reversible=True, bitspersample=bits))
    raise ValueError(f"transfer syntax {syntax} is not written here")


def file_bytes(dataset: Dataset, syntax: str) -> bytes:
    """A DICOM file (PS3.10) of ``dataset``."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def uid(patient: PatientDraw, *path: object) -> str:
    """A UID (PS3.5 B.2, from a UUID) that only this object of this archive has."""
    text = "/".join(map(str, (patient.archive, patient.index, *path)))
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big') >> 6}"


def identifying(dataset: Dataset) -> set[str]:
    """Every value of ``dataset`` that points at a person, a place, a day or an object, at any depth."""
    found: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "SQ" or element.keyword in _STRUCTURE:
            continue
        if element.VR in ("PN", "UI") or element.tag.is_private or element.keyword in _IDENTIFYING:
            found |= _texts(element.value)
        if element.VR == "PN":
            found |= {part for part in str(element.value).split("^") if len(part) > 3}
    return {text for text in found if text}


def _texts(value: Any) -> set[str]:
    return {str(part) for part in value} if isinstance(value, (list, tuple)) else {str(value)}
