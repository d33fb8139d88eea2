"""A file outside any archive, taken exactly as sharding takes it: for predictions. Imported by ``mae_rad``.

The same functions decide whether it is a film, decode it, make its display, shrink and encode it, so that a model sees
the bytes that a shard would hold. Nothing is pseudonymised, since nothing becomes public: the keys in the sidecar are
made with a secret that is thrown away, and the film comes with what its header says of the patient.
"""

import contextlib
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
from data_prep.archive.reject_rules import select
from data_prep.archive.selection_settings import SelectionSettings
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import MIN_SECRET_BYTES, Pseudonyms
from data_prep.errors import FilmReject, Reason
from data_prep.film.sample import Facts, decode_file, make_sample
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.library_warnings import quiet
from data_prep.settings import Settings
from data_prep.shard_format.film_codec import Codec
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.sidecar import Sidecar, Split

__all__ = ["ArchiveFile", "OneFilm", "Preparation", "list_files", "read_films"]

_SAID_OF_THE_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"),
    *("Modality", "NumberOfFrames", "Rows", "Columns"),
)
_SPLIT: Split = "test"
"""Every sidecar has one; of a film outside shards it says nothing."""


class Preparation(Settings):
    """The settings of sharding that decide whether a file is a film, and how it looks."""

    max_side: Annotated[int, Field(ge=16)] | Literal["native"] = 1536
    min_side: int = Field(default=64, ge=16)
    codec: Codec = "htj2k"
    selection: SelectionSettings = SelectionSettings()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Preparation":
        """That of a public folder, by ``config`` of its card; a setting that the folder does not know is the default.

        Args:
            config: of :class:`data_prep.shard_format.dataset_card.DatasetCard`.
        """
        defaults = ShardSettings().model_dump(mode="json", include=set(cls.model_fields))
        return cls.model_validate({name: config.get(name, value) for name, value in defaults.items()})


@dataclass(frozen=True)
class OneFilm:
    """A film as it would lie in a shard.

    Attributes:
        stream: of the pixels.
        sidecar: as in the shard, but for keys and split, which mean nothing.
        header: what the DICOM header says of patient, study and object, as it stands there; None for PNG and JPEG.
    """

    stream: bytes
    sidecar: Sidecar
    header: Dataset | None


def read_films(file: ArchiveFile, preparation: Preparation) -> list[OneFilm]:
    """The film of a file, or the films of its frames.

    Args:
        file: as :func:`list_files` finds it.
        preparation: of the films that a model knows.

    Raises:
        FilmReject: why it is none.
    """
    facts = _facts(file, preparation)
    try:
        data = Path(file.path).read_bytes()
    except OSError:
        raise FilmReject(Reason.UNREADABLE_FILE) from None
    frames = facts["frames"] or 1
    if frames == 1:
        return [_film(data, facts, preparation)]
    of_frames = ({**facts, "key": frame_key(facts["key"], frame), "frame": frame} for frame in range(frames))
    return [_film(data, one, preparation) for one in of_frames]


def _film(data: bytes, facts: Facts, preparation: Preparation) -> OneFilm:
    stored = decode_file(data, facts)
    sample = make_sample(
        stored,
        facts,
        split=_SPLIT,
        max_side=preparation.max_side,
        codec=preparation.codec,
        reject_empty=preparation.selection.rejects(Reason.EMPTY_EXPOSURE),
    )
    return OneFilm(sample.film, sample.sidecar, None if stored.header is None else _said_of_the_patient(stored.header))


def _facts(file: ArchiveFile, preparation: Preparation) -> Facts:
    """What the manifest would hold of the file, without the archive around it.

    Raises:
        FilmReject: it is no film, or one that the model's shards leave out.
    """
    pseudonyms = Pseudonyms(secrets.token_bytes(MIN_SECRET_BYTES))
    try:
        read = read_header(file, pseudonyms, ReadSettings())
    except OSError:
        raise FilmReject(Reason.UNREADABLE_FILE) from None
    facts: dict[str, Any] = dict.fromkeys(MANIFEST_SCHEMA.names) | read.facts
    facts |= {"source": read.source, "reason": read.reason, "model": None, "patient_known": False}
    known = pa.Table.from_pylist([{name: facts[name] for name in MANIFEST_SCHEMA.names}], MANIFEST_SCHEMA)
    refused = select(known, preparation.selection, preparation.min_side)[0].as_py()
    if refused is not None:
        raise FilmReject(Reason(refused))
    (row,) = known.to_pylist()
    return {**row, "patient": pseudonyms.patient_of_study(row["study"])}


def _said_of_the_patient(header: Dataset) -> Dataset:
    said = Dataset()
    with quiet():
        for keyword in _SAID_OF_THE_PATIENT:
            with contextlib.suppress(Exception):  # pydicom converts an element late, and stumbles over an invalid value
                said[keyword] = header[keyword]
    return said
