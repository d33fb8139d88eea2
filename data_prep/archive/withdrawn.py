"""Patients who have withdrawn their consent: their films are in no shard that is written from then on."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import write_private_text
from data_prep.bounded_reading import read_bounded
from data_prep.errors import ArchiveError, Reason

WITHDRAWN_FILE = "withdrawn.txt"
"""Keys of these patients, in the private folder; a scan keeps it."""
_MAX_BYTES = 2**28


def read_withdrawn(private: Path) -> frozenset[str]:
    """Read the keys of patients who have withdrawn their consent.

    Raises:
        ArchiveError: the list cannot be read.
    """
    try:
        return frozenset(read_bounded(private / WITHDRAWN_FILE, _MAX_BYTES).decode().split())
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError):
        raise ArchiveError(
            f"{private / WITHDRAWN_FILE} cannot be read: films without consent would be written"
        ) from None


def add_withdrawn(private: Path, keys: Collection[str]) -> None:
    """Add patients to the list."""
    write_private_text(private / WITHDRAWN_FILE, "\n".join(sorted(read_withdrawn(private) | set(keys))) + "\n")


def reject_withdrawn(manifest: pa.Table, private: Path) -> pa.Table:
    """Set the reason of films of these patients.

    Args:
        manifest: rows of a scan.
        private: the private folder.
    """
    withdrawn = read_withdrawn(private)
    if not withdrawn:
        return manifest
    is_withdrawn = pc.and_(pc.is_null(manifest["reason"]), pc.is_in(manifest["patient"], pa.array(sorted(withdrawn))))
    column = pc.if_else(is_withdrawn, pa.scalar(Reason.WITHDRAWN.value), manifest["reason"])
    place = manifest.schema.get_field_index("reason")
    return manifest.set_column(place, manifest.schema.field("reason"), column)
