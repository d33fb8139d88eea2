"""Tiny DICOM films for tests, uncompressed, with any attribute overridden or left out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

CR = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"


def uid(*names: object) -> str:
    """A UID that is always the same for the same names."""
    return str(generate_uid(entropy_srcs=[str(name) for name in names]))


def ramp(rows: int = 24, columns: int = 20, bits: int = 12) -> NDArray[np.uint16]:
    """Stored values [rows, columns] that rise from 0 to the top of the range."""
    return np.linspace(0, 2**bits - 1, rows * columns).reshape(rows, columns).astype(np.uint16)


def write_film(
    path: Path,
    *,
    values: NDArray[Any] | None = None,
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    window: tuple[float, float] | None = None,
    rescale: tuple[float, float] | None = None,
    sop_class: str = CR,
    sop: str | None = None,
    patient_id: str | None = "P1",
    study: str | None = "study 1",
    transfer_syntax: str = ExplicitVRLittleEndian,
    preamble: bool = True,
    **attributes: Any,
) -> Dataset:
    """Write one film and return its data set.

    Args:
        path: where to; folders are made.
        values: stored values [rows, columns], or [rows, columns, 3]; signed types are kept signed; a ramp if None.
        bits: BitsStored (HighBit = bits - 1).
        photometric: PhotometricInterpretation.
        window: (centre, width).
        rescale: (slope, intercept).
        sop_class: SOP Class UID.
        sop: SOP Instance UID; derived from ``path`` if None, left out if empty.
        patient_id: None leaves it out.
        study: the study's name, from which its UID is made within the patient; None leaves UID out.
        transfer_syntax: one of the three uncompressed ones that are not deflated.
        preamble: False writes the bare data set, without preamble and file meta information.
        attributes: any further keyword; None leaves the attribute out (also one of those set here).
    """
    film = _film(ramp(bits=bits) if values is None else values, bits, photometric)
    film.SOPClassUID = sop_class
    film.SOPInstanceUID = uid("film", path) if sop is None else sop
    film.Modality = "DX" if sop_class.startswith(f"{CR}.1") else "CR"
    film.PatientID, film.StudyInstanceUID = patient_id, uid("study", patient_id, study)
    film.SeriesInstanceUID = uid("series", patient_id, study)
    film.StudyDate = "20200131"
    if window is not None:
        film.WindowCenter, film.WindowWidth = window
    if rescale is not None:
        film.RescaleSlope, film.RescaleIntercept = rescale
    gone = {
        "PatientID": patient_id is None,
        "StudyInstanceUID": study is None,
        "SeriesInstanceUID": study is None,
        "SOPInstanceUID": sop == "",
    }
    for keyword, value in attributes.items():
        gone[keyword] = value is None
        with config.disable_value_validation():  # archives hold values that the standard forbids
            setattr(film, keyword, value)
    for keyword in (name for name, is_gone in gone.items() if is_gone):
        delattr(film, keyword)
    with config.disable_value_validation():
        _save(film, path, transfer_syntax, preamble)
    return film


def _film(values: NDArray[Any], bits: int, photometric: str) -> Dataset:
    film = Dataset()
    film.Rows, film.Columns = values.shape[:2]
    film.SamplesPerPixel = 1 if values.ndim == 2 else values.shape[2]
    film.PhotometricInterpretation = photometric
    film.BitsAllocated = values.dtype.itemsize * 8
    film.BitsStored, film.HighBit = bits, bits - 1
    film.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 3:
        film.PlanarConfiguration = 0
    data = values.tobytes()
    film.PixelData = data + b"\0" * (len(data) % 2)
    return film


def _save(film: Dataset, path: Path, transfer_syntax: str, preamble: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    implicit = transfer_syntax == ImplicitVRLittleEndian
    little = transfer_syntax != ExplicitVRBigEndian
    if not little and film.BitsAllocated == 16 and "PixelData" in film:
        film.PixelData = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
    if not preamble:
        film.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        return
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.get("SOPClassUID") or CR
    film.file_meta.MediaStorageSOPInstanceUID = film.get("SOPInstanceUID") or uid("no identifier")
    film.file_meta.TransferSyntaxUID = transfer_syntax
    film.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
