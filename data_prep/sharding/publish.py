"""Publish a finished public folder to object storage, so that trainings read it from there.

Only files that belong to a public folder are copied, the list of them last: a folder without ``published.json`` is not
finished. An interrupted command goes on where it was, by a list of what is there already; later generations and new
labels are added by the same command. Shards never change: another data set needs another address.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import ShardFormatError, StorageError
from data_prep.folder_url import WRITABLE, FolderUrl
from data_prep.object_storage.published_files import PUBLISHED_FILE, PublishedFile, PublishedFiles, read_published
from data_prep.object_storage.storage import remove_file, write_file
from data_prep.planning.folder_identity import DATASET_FILE
from data_prep.runtime.progress import Progress
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.shard_format.label_tables import AGREEMENT_FILE, BOXES_FILE, LABELS_FILE, STATISTICS_FILE

UNFINISHED_LIST = "publishing.json"
"""Lists what an unfinished command has copied; removed at its end."""

_TABLES = ("index.parquet", "rejects.parquet")
_LABELS = (LABELS_FILE, BOXES_FILE, STATISTICS_FILE, AGREEMENT_FILE)


@dataclass(frozen=True)
class PublishSummary:
    """What was published.

    Attributes:
        url: where.
        files: number of files of the folder.
        copied: number of them that were copied by this command.
        size: bytes of these.
        left_out: entries of the local folder that do not belong to it.
    """

    url: FolderUrl
    files: int
    copied: int
    size: int
    left_out: int

    def __str__(self) -> str:
        """The summary as one line."""
        others = f"; {self.left_out} files that do not belong to a public folder were left out" * bool(self.left_out)
        return f"{self.url}: {self.files} files, {self.copied} of them copied now ({self.size:,} bytes){others}"


@dataclass(frozen=True)
class _File:
    """A file to publish: its name there, its path here, and its SHA-256 on the card."""

    name: str
    path: Path
    recorded: str | None


def publish(public: Path, url: FolderUrl) -> PublishSummary:
    """Copy a finished public folder with all its generations.

    Args:
        public: folder that ``shard`` has finished.
        url: where to publish it.

    Raises:
        ShardFormatError: the folder is not finished or a shard is damaged, or another data set was published there.
        StorageError: the storage cannot be written, cannot be reached, or refuses a request.
    """
    if url.scheme not in WRITABLE or url.query:
        kinds = ", ".join(f"{scheme}://" for scheme in WRITABLE)
        raise StorageError(f"{url} cannot be written. Publish to one of {kinds}")
    folders = generation_folders(public)
    files = [file for folder in folders for file in _files(folder, public, read_dataset_card(folder))]
    before = read_published(url)
    there = {**(before.files if before else {}), **_unfinished(url)}
    _check_same_dataset(files, there, public, url)
    here: dict[str, PublishedFile] = {}
    copied = size = 0
    progress = Progress("publish", "files", len(files))
    for file in files:
        here[file.name] = _described(file)
        if there.get(file.name) != here[file.name]:
            write_file(url, file.name, file.path)
            copied, size = copied + 1, size + here[file.name].size
            if file.recorded is not None:  # after a shard; small files are copied again
                write_file(url, UNFINISHED_LIST, _encoded(here))
        progress.add()
    progress.close()
    if before is None or before.files != here:
        write_file(url, PUBLISHED_FILE, _encoded(here))
    remove_file(url, UNFINISHED_LIST)
    entries = sum(1 for folder in folders for entry in folder.iterdir() if not entry.is_dir())
    return PublishSummary(url, len(files), copied, size, entries - len(files))


def _files(folder: Path, public: Path, card: DatasetCard) -> Iterator[_File]:
    """Yield the files of a generation: shards, their cards and tables, then its tables, then its card."""
    prefix = "" if folder == public else f"{folder.name}/"
    for name, sha256 in sorted(card.shards.items()):
        stem = name.removesuffix(".tar")
        yield _File(f"{prefix}{name}", folder / name, sha256)
        yield from (_File(f"{prefix}{stem}.{end}", folder / f"{stem}.{end}", None) for end in ("parquet", "json"))
    names = [*_TABLES, *(name for name in _LABELS if (folder / name).exists()), DATASET_FILE]
    yield from (_File(f"{prefix}{name}", folder / name, None) for name in names)


def _described(file: _File) -> PublishedFile:
    try:
        if file.path.is_symlink():
            raise OSError
        with file.path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            size = content.tell()
    except OSError:
        raise ShardFormatError(f"{file.path} is missing or cannot be read. Run: mae-rad verify PUBLIC") from None
    if file.recorded not in {None, sha256}:
        raise ShardFormatError(f"{file.path} is damaged; it is not copied. Run: mae-rad verify PUBLIC")
    return PublishedFile(size=size, sha256=sha256)


def _unfinished(url: FolderUrl) -> dict[str, PublishedFile]:
    published = read_published(url, UNFINISHED_LIST)
    return published.files if published else {}


def _check_same_dataset(files: list[_File], there: dict[str, PublishedFile], public: Path, url: FolderUrl) -> None:
    """Refuse to replace shards: readers would find bytes of another film."""
    shards = {file.name: file.recorded for file in files if file.recorded is not None}
    others = [name for name, file in there.items() if name.endswith(".tar") and shards.get(name) != file.sha256]
    if others:
        raise ShardFormatError(
            f"{url} holds another data set than {public}, and trainings may be reading it. Give another address"
        )


def _encoded(files: dict[str, PublishedFile]) -> bytes:
    return PublishedFiles(files=files).model_dump_json(indent=1).encode()
