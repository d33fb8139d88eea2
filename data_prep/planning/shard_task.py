"""One planned shard, as a worker process gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_prep.errors import Reason
from data_prep.film.sample import Facts
from data_prep.shard_format.film_codec import Codec
from data_prep.shard_format.sidecar import Split


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write one shard.

    Attributes:
        name: of the shard.
        split: of all its films.
        files: (path, row of the manifest) in writing order; files with the same key follow each other.
        max_side: longest side of a film.
        codec: of the films.
        config_sha256: goes into the card.
        inputs_sha256: goes into the card.
        verdicts: row → reason for files that are not tried: an earlier run has learnt what becomes of them.
        written: key → SHA-256 of the pixels of each frame, for those of these files that another shard holds already.
        appended: whether an earlier generation precedes the shard, so that its files may have been refused before.
        reject_empty: leave out films that show nothing but air.
    """

    name: str
    split: Split
    files: Sequence[tuple[str, Facts]]
    max_side: int | Literal["native"]
    config_sha256: str
    inputs_sha256: str
    verdicts: Mapping[int, Reason] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    appended: bool = False
    reject_empty: bool = False
    codec: Codec = "htj2k"
