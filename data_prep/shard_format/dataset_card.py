"""Models of ``dataset.json``, the card of a public folder, and of the card of a shard."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from data_prep.bounded_reading import read_json
from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.folder_layout import FORMAT_VERSION, SHARD_NAME
from data_prep.shard_format.sidecar import ClosedModel, Split


class ShardCard(ClosedModel):
    """``<shard>.json``: written last, it marks the shard as complete."""

    shard: str
    config_sha256: str
    inputs_sha256: str
    """SHA-256 of the manifest rows of its files; where the plan changes, the shard is rewritten."""
    tar_sha256: str
    tar_size: int
    index_sha256: str
    films: int
    rejects: list[tuple[int, str]]
    """(manifest row, reason) for every file of this shard that became no film."""


class FileCounts(ClosedModel):
    """Number of files of the archive by outcome; the sum is the number of all files."""

    written: int
    rejected: int
    dropped: int


class DatasetCard(ClosedModel):
    """``dataset.json``: written last of all, it marks the folder as complete."""

    format_version: int
    dataset_sha256: str
    """SHA-256 of the checksums of all shards in order: the identity of the data, which trainings record."""
    config: dict[str, Any]
    config_sha256: str
    key_fingerprint: str
    keys: int = 1
    """How the keys were made: 2, or 1 in folders that an earlier release began."""
    source: str = ""
    """Key of the setting ``source`` of the scan; empty in folders of earlier releases."""
    files: FileCounts
    reasons: dict[str, int]
    films: dict[Split, int]
    patients: dict[Split, int]
    same_pixels: int = 0
    """Films of this generation with the pixels of another, under another identifier (``same_pixels_as``)."""
    same_pixels_across_splits: int = 0
    """Those of them whose equal is in another split: training on one would leak into the evaluation of the other."""
    shards: dict[str, str]
    """Name of the tar → its SHA-256."""
    plan_sha256: str = ""
    """Of the plan that ``quarantined`` belongs to."""
    quarantined: list[tuple[int, str]] = []
    """(manifest row, reason) of files that are not tried again when these shards are rewritten: they crashed or blocked
    their decoder, or ``append --reason`` left them out."""
    retries: list[list[tuple[int, str]]] = []
    """Only in folders of earlier releases, whose command ``retry`` added shards: per run the files that were tried
    again, and the reasons for which they had been rejected."""
    removed: list[str] = []
    """Digests (:func:`removal_digest`) of patients whose films were removed; only in the first generation."""
    after: str | None = None
    """``dataset_sha256`` of the generation before this one; None for the first."""
    deidentification: dict[str, str]
    """PS3.15 Annex E profile and option codes → their meaning."""

    @field_validator("shards")
    @classmethod
    def _names_of_shards(cls, shards: dict[str, str]) -> dict[str, str]:
        if strange := [name for name in shards if not SHARD_NAME.fullmatch(name)]:
            raise ValueError(f"{len(strange)} shards have other names than those of `mae-rad shard`")
        return shards

    def __str__(self) -> str:
        """The counts as a text table."""
        lines = [("films", self.files.written, f"in {len(self.shards)} shards")]
        lines += [(f"  {split}", count, f"of {self.patients[split]} patients") for split, count in self.films.items()]
        lines.append(("no films", self.files.rejected + self.files.dropped, ""))
        lines += [(f"  {reason}", count, "") for reason, count in self.reasons.items()]
        if self.same_pixels:
            lines.append(("same pixels", self.same_pixels, f"{self.same_pixels_across_splits} across splits"))
        table = "\n".join(f"{name:<30}{count:>10}  {note}".rstrip() for name, count, note in lines)
        return f"{table}\ndataset {self.dataset_sha256}"


def removal_digest(patient: str) -> str:
    """Return what a folder keeps of a patient who was removed, so that ``append`` does not add the films again.

    Args:
        patient: key of the patient, which is in no byte of the folder any more.
    """
    return hashlib.sha256(f"removed {patient}".encode()).hexdigest()


def read_dataset_card(public: PublicFolder) -> DatasetCard:
    """Read ``dataset.json`` of a complete public folder.

    Raises:
        ShardFormatError: the folder does not exist, is not finished or damaged, or has another format version.
    """
    path = local_file(public, "dataset.json")
    if isinstance(public, Path) and not public.is_dir():
        raise ShardFormatError(f"shard folder {public} does not exist. Make it with: mae-rad shard")
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise ShardFormatError(
            f"{public} holds no dataset.json: it is no shard folder, or sharding has not finished."
            " Run the same shard command again to finish it"
        ) from None
    except (OSError, ValueError):
        raise ShardFormatError(f"{path} cannot be read. Run the same shard command again to rewrite it") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ShardFormatError(
            f"{public} has shard format version {version}, this release reads version {FORMAT_VERSION}."
            " Shard the archive again, or use the release that wrote it"
        )
    try:
        return DatasetCard.model_validate(values)
    except ValidationError:
        raise ShardFormatError(f"{path} is damaged. Run the same shard command again to rewrite it") from None


def read_shard_cards(folders: Sequence[Path]) -> list[ShardCard]:
    """Read the cards of all shards of complete folders.

    Args:
        folders: public folders, each a generation.

    Raises:
        ShardFormatError: a folder is not finished, or a card is missing or damaged.
    """
    paths = [folder / f"{Path(name).stem}.json" for folder in folders for name in read_dataset_card(folder).shards]
    try:
        return [ShardCard.model_validate(read_json(path)) for path in paths]
    except (OSError, ValueError):
        raise ShardFormatError(
            f"a card of a shard of {folders[0]} is damaged. Run: mae-rad verify {folders[0]}"
        ) from None
