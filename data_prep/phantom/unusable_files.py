"""Makes damaged files and DICOM objects that are no films, with the expected reject reason of each."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from data_prep.errors import Reason
from data_prep.phantom.dicom_film import DX_FOR_PROCESSING, file_bytes, make_uid, set_pixels, study_dataset
from data_prep.phantom.fictitious_people import Person, Visit
from data_prep.phantom.imaging.scanners import EXPLICIT_LE
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw, UnusableFile
from data_prep.phantom.render_film import RenderedFilm

REASONS = {
    UnusableFile.TRUNCATED: Reason.CORRUPT_PIXELS,
    UnusableFile.EMPTY_FILE: Reason.NOT_A_FILM,
    UnusableFile.TEXT_FILE: Reason.NOT_A_FILM,
    UnusableFile.REPORT: Reason.DOCUMENT,
    UnusableFile.SCREENSHOT: Reason.NOT_A_RADIOGRAPH,
    UnusableFile.DUPLICATE: Reason.DUPLICATE,
    UnusableFile.FOR_PROCESSING: Reason.PROCESSING_TWIN,
}
"""Kind of file → reject reason that sharding is expected to report."""

_BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_TRUNCATED_FRACTION = 0.6
"""Fraction of the bytes of a truncated file."""


class UnusableFileMaker:
    """Makes the unusable files next to one film.

    Args:
        patient: draws of the patient.
        study: draws of the study.
        draw: draws of the film.
        person: identity of the patient.
        visit: identifying facts of the study.
        film: the rendered film.
        dataset: data set of the film, with pixels.
        stored: bytes of the file of the film.
    """

    def __init__(
        self, patient: PatientDraw, study: StudyDraw, draw: FilmDraw, person: Person, visit: Visit, film: RenderedFilm,
        dataset: Dataset, stored: bytes,
    ) -> None:  # fmt: skip
        self._patient, self._study, self._draw = patient, study, draw
        self._person, self._visit = person, visit
        self._film, self._dataset, self._stored = film, dataset, stored

    def file(self, kind: UnusableFile) -> tuple[bytes, Dataset | None]:
        """Make the bytes of one file, and its data set, if it has one of its own."""
        if kind == UnusableFile.EMPTY_FILE:
            return b"", None
        if kind == UnusableFile.TEXT_FILE:
            return self._text_file(), None
        if kind == UnusableFile.DUPLICATE:
            return self._stored, None
        makers = {
            UnusableFile.TRUNCATED: self._truncated_film,
            UnusableFile.REPORT: self._report,
            UnusableFile.SCREENSHOT: self._screenshot,
            UnusableFile.FOR_PROCESSING: self._raw_data,
        }
        dataset, syntax = makers[kind]()
        content = file_bytes(dataset, syntax)
        return (
            content[: int(len(content) * _TRUNCATED_FRACTION)] if kind == UnusableFile.TRUNCATED else content
        ), dataset

    def _text_file(self) -> bytes:
        lines = (
            "PACS export log",
            f"patient {self._person.name} ({self._person.patient_id})",
            f"on {self._visit.date}: ok",
        )
        return "\r\n".join(lines).encode()

    def _truncated_film(self) -> tuple[Dataset, str]:
        dataset = self._copy(self._dataset, "truncated")
        return dataset, str(self._dataset.file_meta.TransferSyntaxUID)

    def _raw_data(self) -> tuple[Dataset, str]:
        """Raw detector data, linear in dose, before processing."""
        dataset = self._copy(self._dataset, "unprocessed")
        for keyword in (
            "WindowCenter",
            "WindowWidth",
            "VOILUTFunction",
            "RescaleSlope",
            "RescaleIntercept",
            "RescaleType",
        ):
            if keyword in dataset:
                delattr(dataset, keyword)
        dataset.SOPClassUID, dataset.Modality = DX_FOR_PROCESSING, "DX"
        dataset.PresentationIntentType, dataset.PhotometricInterpretation = "FOR PROCESSING", "MONOCHROME1"
        dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
        dataset.PresentationLUTShape = "INVERSE"
        bits = self._study.scanner.bits
        signal = np.exp(-self._film.log_film) * (0.7 * 2**bits)
        set_pixels(dataset, np.clip(signal, 0, 2**bits - 1).astype(np.uint16), bits, EXPLICIT_LE)
        return dataset, EXPLICIT_LE

    def _report(self) -> tuple[Dataset, str]:
        """A structured report (PS3.3 A.35.1) with one paragraph."""
        dataset = study_dataset(self._patient, self._study, self._person, self._visit)
        dataset.SOPClassUID, dataset.Modality = _BASIC_TEXT_SR, "SR"
        dataset.SOPInstanceUID = make_uid(self._patient, self._study.index, self._draw.index, "report")
        dataset.SeriesInstanceUID = make_uid(self._patient, self._study.index, self._draw.index, "report series")
        dataset.ValueType, dataset.CompletionFlag, dataset.VerificationFlag = "CONTAINER", "COMPLETE", "UNVERIFIED"
        paragraph = Dataset()
        paragraph.RelationshipType, paragraph.ValueType = "CONTAINS", "TEXT"
        paragraph.TextValue = (
            f"Dear Dr. {self._visit.referring.split('^')[0]}, films of {self._person.name.replace('^', ', ')} received."
        )
        dataset.ContentSequence = Sequence([paragraph])
        return dataset, EXPLICIT_LE

    def _screenshot(self) -> tuple[Dataset, str]:
        """A colour secondary capture of a viewer that shows the name of the patient."""
        dataset = study_dataset(self._patient, self._study, self._person, self._visit)
        dataset.SOPClassUID, dataset.Modality, dataset.ConversionType = _SECONDARY_CAPTURE, "OT", "WSD"
        dataset.SOPInstanceUID = make_uid(self._patient, self._study.index, self._draw.index, "screenshot")
        dataset.SeriesInstanceUID = make_uid(self._patient, self._study.index, self._draw.index, "screenshot series")
        dataset.BurnedInAnnotation = "YES"
        picture = self._viewer_picture()
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *picture.shape[:2], 3
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.add_new(0x7FE00010, "OB", picture.tobytes())
        return dataset, EXPLICIT_LE

    def _viewer_picture(self) -> NDArray[np.uint8]:
        stored = self._film.stored
        grey = cv2.resize((stored.astype(np.float32) / max(int(stored.max()), 1) * 255).astype(np.uint8), (320, 400))
        picture = np.full((480, 640, 3), (24, 36, 60), dtype=np.uint8)
        picture[60:460, 20:340] = 255 - grey[..., None] if self._draw.inverted else grey[..., None]
        name = self._person.name.replace("^", " ").encode("ascii", "replace").decode()
        for k, line in enumerate((name, self._person.patient_id, self._visit.date)):
            cv2.putText(
                picture, line, (360, 90 + 30 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 220, 60), 1, cv2.LINE_AA
            )
        return picture

    def _copy(self, dataset: Dataset, name: str) -> Dataset:
        """A copy of the data set of the film as another instance."""
        copy = Dataset()
        copy.update({element.tag: element for element in dataset})
        copy.SOPInstanceUID = make_uid(self._patient, self._study.index, self._draw.index, name)
        return copy
