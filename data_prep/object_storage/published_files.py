"""The list of files of a published folder, and its tables as local files.

``published.json`` is written last and names every file with size and SHA-256. So a reader needs no listing, which
plain web servers do not have, and a local copy is never stale: it is kept under its checksum.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.bounded_reading import MAX_CARD_BYTES
from data_prep.errors import ShardFormatError, StorageError
from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.object_storage.range_cache import cache_folder
from data_prep.object_storage.storage import read_file
from data_prep.runtime.atomic_write import atomic_file

PUBLISHED_FILE = "published.json"


class PublishedFile(BaseModel):
    """A file of a published folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class PublishedFiles(BaseModel):
    """``published.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, PublishedFile]
    """Name, relative to the published folder → its file; those of a generation begin with its name and a slash."""


def read_published(folder: FolderUrl, name: str = PUBLISHED_FILE) -> PublishedFiles | None:
    """Read the list of a published folder; None if it has none.

    Raises:
        ShardFormatError: it is damaged.
        StorageError: the storage cannot be reached, or refuses the request.
    """
    try:
        return PublishedFiles.model_validate_json(read_file(folder, name, MAX_CARD_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError:
        raise ShardFormatError(f"{name} of {folder} is damaged. Publish the folder again: mae-rad publish") from None


@lru_cache(maxsize=64)
def published_files(folder: FolderUrl) -> dict[str, PublishedFile]:
    """Files of a published folder or of one of its generations: name in it → file. Read once per process.

    Raises:
        ShardFormatError: nothing was published there, or its list is damaged.
        StorageError: the storage cannot be reached, or refuses the request.
    """
    published = read_published(folder)
    if published is None:
        raise ShardFormatError(
            f"{folder} holds no {PUBLISHED_FILE}: nothing was published there, or publishing has not finished."
            " Publish a folder of shards with: mae-rad publish PUBLIC URL"
        )
    prefix = folder.relative("")
    return {name.removeprefix(prefix): file for name, file in published.files.items() if name.startswith(prefix)}


def local_file(folder: PublicFolder, name: str) -> Path:
    """Find a file of a public folder on this machine.

    Args:
        folder: local public folder or one in object storage.
        name: name of the file in it; not a tar, which is read in parts.

    Returns:
        Its path, which need not exist; a file of object storage is copied once.

    Raises:
        ShardFormatError: nothing was published there, or its list is damaged.
        StorageError: the storage cannot be reached, or the file has changed.
    """
    if isinstance(folder, Path):
        return folder / name
    file = published_files(folder).get(name)
    if file is None:
        return cache_folder() / "absent" / name
    path = cache_folder() / "files" / file.sha256 / Path(name).name
    if not path.exists():
        try:
            data = read_file(folder, folder.relative(name), file.size)
        except FileNotFoundError:
            raise StorageError(f"{folder} lacks {name}, which it lists. Publish it again: mae-rad publish") from None
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise StorageError(f"{name} of {folder} was published anew meanwhile. Run the same command again")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as copy:
            copy.write(data)
    return path
