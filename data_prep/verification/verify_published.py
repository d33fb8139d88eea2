"""Verify a published folder: every file is read back and compared with the checksum under which it was published."""

import hashlib

from data_prep.folder_url import FolderUrl
from data_prep.object_storage.published_files import published_files
from data_prep.object_storage.storage import ByteRange, read_ranges
from data_prep.runtime.progress import Progress
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card

_CHUNK = 16 * 2**20
"""Bytes of one request."""


def verify_published(url: FolderUrl) -> list[str]:
    """Find the files that are not those of the folder that was published; an empty list means that all are.

    Raises:
        ShardFormatError: nothing was published there, or it is not finished.
        StorageError: the storage cannot be reached, refuses a request, or lacks a file.
    """
    files = published_files(url)
    problems = [
        f"{folder.relative(name)}: another shard than dataset.json lists"
        for folder in generation_folders(url)
        for name, sha256 in sorted(read_dataset_card(folder).shards.items())
        if getattr(files.get(folder.relative(name)), "sha256", None) != sha256
    ]
    progress = Progress("verify", "files", len(files))
    for name, file in sorted(files.items()):
        digest = hashlib.sha256()
        for start in range(0, file.size, _CHUNK):
            digest.update(read_ranges(url, [ByteRange(name, start, min(_CHUNK, file.size - start))])[0])
        if digest.hexdigest() != file.sha256:
            problems.append(f"{name}: not the bytes that were published; run the same publish command again")
        progress.add()
    progress.close()
    return problems
