"""Finds what was made from a public folder and is stale by a change: runs, encoders, comparisons, tables of vectors."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.bounded_reading import MAX_CARD_BYTES, parse_yaml, read_bounded

_RECORDS = ("run.json", "encoder.json", "predictor.json", "facts.json")
_CONFIG = "config.yaml"
_HASH = re.compile(rb"[0-9a-f]{64}")
_OWN_WEIGHTS = re.compile(rb'"weights_sha256": *"([0-9a-f]{64})"')


def find_stale(runs: Sequence[Path], hashes: Collection[bytes], public: Path) -> list[Path]:
    """Find the records of runs and encoders, and tables of vectors, that were made from a public folder.

    That is what names one of its checksums, alone or among joined folders, what belongs to settings that name the
    folder, and what begins with the weights of such an encoder or holds its vectors.

    Args:
        runs: folders to search.
        hashes: checksums of the folder, as hexadecimal digits.
        public: the folder.
    """
    mentions = {path: found for root in runs for path in sorted(root.rglob("*")) if (found := _mentioned(path))}
    known = set(hashes)
    stale = {
        path for path in mentions if any(_was_given(folder / _CONFIG, public) for folder in list(path.parents)[:2])
    }
    while True:
        known |= {sha256 for path in stale for sha256 in mentions[path].own_weights}
        more = {path for path, found in mentions.items() if found.hashes & known} - stale
        if not more:
            return sorted(stale)
        stale |= more


class _Mentioned(NamedTuple):
    """Checksums in a record: all of them, and those of weights that it describes."""

    hashes: frozenset[bytes]
    own_weights: frozenset[bytes]


def _mentioned(path: Path) -> _Mentioned | None:
    """The checksums in a record or the metadata of a table; None for other files."""
    try:
        if path.name in _RECORDS and path.is_file():
            text = read_bounded(path, MAX_CARD_BYTES)
        elif path.suffix == ".parquet" and path.is_file():
            metadata = pq.read_schema(path).metadata or {}
            text = b" ".join(value for name, value in metadata.items() if name != b"ARROW:schema")
        else:
            return None
    except (OSError, pa.ArrowException):
        return None
    return _Mentioned(frozenset(_HASH.findall(text)), frozenset(_OWN_WEIGHTS.findall(text)))


def _was_given(config: Path, public: Path) -> bool:
    """Whether the settings of a run name the folder: earlier releases record no checksum of each joined folder."""
    try:
        shards = parse_yaml(read_bounded(config, MAX_CARD_BYTES).decode())["data"]["shards"]
        return any(Path(name).resolve() == public.resolve() for name in shards)
    except (OSError, ValueError, TypeError, KeyError):
        return False
