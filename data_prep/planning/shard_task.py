"""One planned shard, as a worker process receives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_prep.errors import Reason
from data_prep.film.sample import Facts
from data_prep.shard_format.film_codec import Codec
from data_prep.shard_format.sidecar import Split


@dataclass(frozen=True)
class ShardTask:
    """Everything that a worker needs to write one shard.

    Attributes:
        name: of the shard.
        split: of all its films.
        files: (path, row of the manifest) in writing order; files with the same key follow each other.
        max_side: longest side of a film in pixels.
        min_short_side: least shorter side in pixels of a film that is reduced; None for no limit.
        codec: of the films.
        digests: private file for the digests of the pixels; None: they are published with the films.
        config_sha256: of the settings, for the card.
        inputs_sha256: of the planned files, for the card.
        not_tried: row → reason of files that are rejected without being read, since they failed in an earlier run.
        written: key → SHA-256 of the pixels of each frame, for the files that another shard already holds.
        appended: whether the shard belongs to a later generation, so that its files may have been rejected before.
        reject_empty: reject films that show nothing but air.
    """

    name: str
    split: Split
    files: Sequence[tuple[str, Facts]]
    max_side: int | Literal["native"]
    config_sha256: str
    inputs_sha256: str
    not_tried: Mapping[int, Reason] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    appended: bool = False
    reject_empty: bool = False
    codec: Codec = "htj2k"
    digests: str | None = None
    min_short_side: int | None = None
