"""Size, time and loss of films as HTJ2K, PNG and JPEG, measured on films of the user's own archive."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from data_prep.archive.file_listing import path_of_text
from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError, FilmReject
from data_prep.film.sample import decode_file, make_sample
from data_prep.planning.plan import plan_shards
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.progress import Progress
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.film_codec import JPEG_QUALITY, decode_film, encode_film
from data_prep.shard_format.sidecar import Display
from data_prep.sharding.estimate import format_bytes

Film = tuple[NDArray[np.uint16], Display]
"""Shard values [rows, columns] of a film, and its display settings."""

T = TypeVar("T")

_REPEATS = 3
"""Number of timed runs; the fastest counts, since other load only slows a run down."""


@dataclass(frozen=True)
class Variant:
    """One way to store a film.

    Attributes:
        name: name in the table.
        setting: value of the setting ``codec``; empty where shards do not offer it.
        encode: shard values [rows, columns] → stream.
        decode: (stream, n) → values, with sides divided by 2**n.
        displayed: whether it holds 8 bits of the displayed film.
    """

    name: str
    setting: str
    encode: Callable[[NDArray[np.uint16]], bytes]
    decode: Callable[[bytes, int], NDArray[np.uint16]]
    displayed: bool = False


def _decode(stream: bytes, reduction: int) -> NDArray[np.uint16]:
    return decode_film(stream, bits=15, reduction=reduction)


def _jpeg(quality: int) -> Callable[[NDArray[np.uint16]], bytes]:
    return lambda values: bytes(imagecodecs.jpeg8_encode(values.astype(np.uint8), level=quality))


def _png(level: int, kind: type[np.generic]) -> Callable[[NDArray[np.uint16]], bytes]:
    return lambda values: bytes(imagecodecs.png_encode(values.astype(kind), level=level))


VARIANTS = (
    Variant("HTJ2K, lossless", "htj2k", encode_film, _decode),
    Variant("PNG, 16 bit, level 1", "png", lambda values: encode_film(values, "png"), _decode),
    Variant("PNG, 16 bit, level 6", "", _png(6, np.uint16), _decode),
    Variant("PNG, 8 bit as displayed", "", _png(6, np.uint8), _decode, displayed=True),
    Variant(f"JPEG, quality {JPEG_QUALITY}", "jpeg", lambda v: encode_film(v, "jpeg"), _decode, displayed=True),
    Variant("JPEG, quality 85", "", _jpeg(85), _decode, displayed=True),
)


@dataclass(frozen=True)
class CodecMeasurement:
    """Results of one variant, means over films.

    Attributes:
        variant: the measured variant.
        bytes: bytes per film.
        encode, decode, half: milliseconds per film to encode, to decode, and to decode at half size.
        loss: mean absolute difference of the displayed film, in levels of 255.
        worst: largest difference in any film, in levels of 255.
    """

    variant: Variant
    bytes: float
    encode: float
    decode: float
    half: float
    loss: float
    worst: float


@dataclass(frozen=True)
class CodecTable:
    """Results of all variants on the same films.

    Attributes:
        films: number of films.
        pixels: mean pixels per film.
        rows: one measurement per variant.
    """

    films: int
    pixels: float
    rows: Sequence[CodecMeasurement]

    def __str__(self) -> str:
        """The results as a text table."""
        head = f"{'':<26}{'codec=':<8}{'kB':>8}{'per million':>13}{'encode':>9}{'decode':>9}{'half':>8}{'loss':>14}"
        lines = [f"{self.films} films of {self.pixels / 1e6:.1f} megapixels; milliseconds per film, one core", head]
        for row in self.rows:
            loss = "none" if row.worst == 0 else f"{row.loss:.2f} (≤ {row.worst:.0f})"
            lines.append(
                f"{row.variant.name:<26}{row.variant.setting:<8}{row.bytes / 1000:>8.0f}"
                f"{format_bytes(row.bytes * 1e6):>13}{row.encode:>9.1f}{row.decode:>9.1f}{row.half:>8.1f}{loss:>14}"
            )
        lines.append("loss: mean (and largest) difference of the displayed film, of 255 levels; 8 bits fix the window")
        return "\n".join(lines)


def compare_codecs(private: Path, settings: ShardSettings, films: int) -> CodecTable:
    """Measure all variants on films of a scanned archive, prepared as in shards.

    Args:
        private: folder of the scan.
        settings: of the shards.
        films: number of films.

    Raises:
        ArchiveError: ``private`` is no private folder, or none of its films can be read.
    """
    sample = _read_films(private, settings, films)
    progress = Progress("bench-codecs", "variants", len(VARIANTS))
    rows = []
    for variant in VARIANTS:
        rows.append(_measure(variant, sample))
        progress.add()
    progress.close()
    return CodecTable(len(sample), float(np.mean([values.size for values, _ in sample])), rows)


def _read_films(private: Path, settings: ShardSettings, films: int) -> list[Film]:
    """The first readable films of the plan, whose order is random."""
    manifest, paths = read_manifest(private), read_linkage(private, ["path"])["path"]
    lossless = settings.model_copy(update={"codec": "htj2k"})
    rows = [row for shard in plan_shards(manifest, lossless).shards for row in shard.rows.tolist()]
    sample_films: list[Film] = []
    for row in rows:
        facts = manifest.slice(row, 1).to_pylist()[0]
        try:
            film = decode_file(Path(path_of_text(paths[row].as_py())).read_bytes(), facts)
            sample = make_sample(film, facts, split="train", max_side=settings.max_side)
        except (FilmReject, OSError):
            continue
        display = sample.sidecar.display
        sample_films.append((decode_film(sample.film, bits=display.bits), display))
        if len(sample_films) == films:
            return sample_films
    if not sample_films:
        raise ArchiveError(f"no film of {private} can be read. Mount the archive where it was scanned")
    return sample_films


def _measure(variant: Variant, films: Sequence[Film]) -> CodecMeasurement:
    sizes, encode, decode, half, losses = [], [], [], [], []
    for values, display in films:
        displayed = apply_display(values, display) / 257  # display values as levels of 255
        stored = np.rint(displayed).astype(np.uint16) if variant.displayed else values
        seconds, stream = _time_fastest(partial(variant.encode, stored))
        sizes.append(len(stream))
        encode.append(seconds)
        seconds, decoded = _time_fastest(partial(variant.decode, stream, 0))
        decode.append(seconds)
        half.append(_time_fastest(partial(variant.decode, stream, 1))[0])
        decoded_display = decoded if variant.displayed else apply_display(decoded.astype(np.uint16), display) / 257
        losses.append(np.abs(decoded_display - displayed))
    return CodecMeasurement(
        variant,
        bytes=float(np.mean(sizes)),
        encode=1000 * float(np.mean(encode)),
        decode=1000 * float(np.mean(decode)),
        half=1000 * float(np.mean(half)),
        loss=float(np.mean([loss.mean() for loss in losses])),
        worst=float(max(loss.max() for loss in losses)),
    )


def _time_fastest(function: Callable[[], T]) -> tuple[float, T]:
    """(seconds of the fastest of _REPEATS calls, result)."""
    best = np.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result
