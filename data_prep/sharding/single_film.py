"""Preparation of a single file for prediction, exactly as sharding prepares it. Imported by ``mae_rad``.

The same functions decide whether the file is a film, decode, display, resize and encode it, so that a model receives
the bytes that a shard would hold. Nothing becomes public, so nothing is pseudonymised: the keys in the sidecar are
made with a random secret that is discarded, and the patient data of the header are returned.
"""

import contextlib
import errno
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field
from pydicom import Dataset

from data_prep.archive.file_listing import ArchiveFile, list_files
from data_prep.archive.header_pool import read_header
from data_prep.archive.manifest import MANIFEST_SCHEMA
from data_prep.archive.reject_by_header import find_reject_reasons
from data_prep.archive.selection_settings import SelectionSettings
from data_prep.archive.settings import ReadSettings
from data_prep.bounded_reading import MAX_FILE_BYTES, read_bounded
from data_prep.deidentify.pseudonyms import MIN_SECRET_BYTES, Pseudonyms
from data_prep.errors import FilmReject, Reason
from data_prep.film.sample import Facts, decode_file, make_sample
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.library_warnings import silence_libraries
from data_prep.settings import Settings
from data_prep.shard_format.film_codec import Codec
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.sidecar import Sidecar, Split

__all__ = ["ArchiveFile", "PreparationSettings", "PreparedFilm", "list_files", "read_films"]

_HEADER_KEYWORDS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"),
    *("Modality", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "PhotometricInterpretation", "BitsStored"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelRepresentation"),
    *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_SPLIT: Split = "test"
"""A value for the sidecar, which requires one; it has no meaning for a film outside of shards."""


class PreparationSettings(Settings):
    """The settings of sharding that select and prepare a film."""

    max_side: Annotated[int, Field(ge=16)] | Literal["native"] = 1536
    min_short_side: Annotated[int, Field(ge=16)] | None = None
    min_side: int = Field(default=64, ge=16)
    codec: Codec = "htj2k"
    selection: SelectionSettings = SelectionSettings()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "PreparationSettings":
        """Read the settings of a public folder; settings that it does not record have their defaults.

        Args:
            config: of :class:`data_prep.shard_format.dataset_card.DatasetCard`.
        """
        defaults = ShardSettings().model_dump(mode="json", include=set(cls.model_fields))
        return cls.model_validate({name: config.get(name, value) for name, value in defaults.items()})


@dataclass(frozen=True)
class PreparedFilm:
    """A film as a shard would hold it.

    Attributes:
        stream: encoded pixels.
        sidecar: as in a shard, but its keys and split have no meaning.
        header: DICOM elements of patient, study, object and display, unchanged; None for PNG and JPEG.
    """

    stream: bytes
    sidecar: Sidecar
    header: Dataset | None


def read_films(file: ArchiveFile, preparation: PreparationSettings) -> list[PreparedFilm]:
    """Prepare the film of a file, or one film per frame.

    Args:
        file: a file from :func:`list_files`.
        preparation: settings of the shards that the model was trained on.

    Raises:
        FilmReject: the file is no film, with the reason.
    """
    facts = _read_facts(file, preparation)
    try:
        data = read_bounded(Path(file.path), MAX_FILE_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise FilmReject(Reason.TOO_LARGE) from None
        raise FilmReject(Reason.UNREADABLE_FILE) from None
    frames = facts["frames"] or 1
    if frames == 1:
        return [_make_film(data, facts, preparation)]
    by_frame = ({**facts, "key": frame_key(facts["key"], frame), "frame": frame} for frame in range(frames))
    return [_make_film(data, of_frame, preparation) for of_frame in by_frame]


def _make_film(data: bytes, facts: Facts, preparation: PreparationSettings) -> PreparedFilm:
    stored = decode_file(data, facts)
    sample = make_sample(
        stored,
        facts,
        split=_SPLIT,
        max_side=preparation.max_side,
        min_short_side=preparation.min_short_side,
        codec=preparation.codec,
        reject_empty=preparation.selection.rejects(Reason.EMPTY_EXPOSURE),
    )
    return PreparedFilm(sample.film, sample.sidecar, None if stored.header is None else _copy_header(stored.header))


def _read_facts(file: ArchiveFile, preparation: PreparationSettings) -> Facts:
    """The manifest row of a file that is in no archive.

    Raises:
        FilmReject: the file is no film, or one that the shards of the model leave out.
    """
    pseudonyms = Pseudonyms(secrets.token_bytes(MIN_SECRET_BYTES))
    try:
        header = read_header(file, pseudonyms, ReadSettings())
    except OSError:
        raise FilmReject(Reason.UNREADABLE_FILE) from None
    facts: dict[str, Any] = dict.fromkeys(MANIFEST_SCHEMA.names) | header.facts
    facts |= {"source": header.source, "reason": header.reason, "model": None, "patient_known": False}
    manifest = pa.Table.from_pylist([{name: facts[name] for name in MANIFEST_SCHEMA.names}], MANIFEST_SCHEMA)
    reason = find_reject_reasons(manifest, preparation.selection, preparation.min_side)[0].as_py()
    if reason is not None:
        raise FilmReject(Reason(reason))
    (row,) = manifest.to_pylist()
    return {**row, "patient": pseudonyms.patient_of_study(row["study"])}


def _copy_header(header: Dataset) -> Dataset:
    copy = Dataset()
    with silence_libraries():
        for keyword in _HEADER_KEYWORDS:
            with contextlib.suppress(Exception):  # pydicom converts elements on access and raises on invalid values
                copy[keyword] = header[keyword]
    return copy
