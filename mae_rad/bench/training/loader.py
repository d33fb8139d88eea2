"""Measure the cost of the loader beyond decoding, and the start of an epoch of a million films.

    mae-rad bench loader --shards PUBLIC [--tokens 196 1024] [--films 256] [--rounds 5]

Methods process the same films in turn, in several rounds, in one process and one thread. Other processes can only slow
a round down, so the best round of each counts.

decode  decode films at the reduction level of the loader; the lower limit.
plain   additionally resize, apply the display table, cut into patches and stack, by direct calls: no index, order,
        masking or checks.
loader  ``training_batches`` of a masked autoencoder (a quarter visible, a quarter predicted), which reads, checks,
        draws and collates, in the calling process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data_prep.settings import local_argument
from data_prep.shard_format.apply_display import display_table
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts
from data_prep.shard_format.film_codec import decode_film, reduction_for
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from mae_rad.data.batch import ViewSpec
from mae_rad.data.film import Film
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import cut_into_patches

PATCH, BATCH, SEED = 16, 16, 1
PLAIN_GOAL, DECODE_GOAL = 0.90, 0.55
MILLION, SECONDS = 1_000_000, 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench loader", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[196, 1024], help="content tokens T (default: 196 1024)"
    )
    parser.add_argument("--films", type=int, default=256, help="number of films (default: 256)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    index = ShardIndex([options.shards])
    for tokens in options.tokens:
        show(index, tokens, min(options.films, len(index)) // BATCH * BATCH, options.rounds)
    show_start()


def show(index: ShardIndex, tokens: int, films: int, rounds: int) -> None:
    """Measure and print the methods at one T.

    Args:
        index: films.
        tokens: T.
        films: number of films.
        rounds: number of rounds.
    """
    order = Order(len(index), SEED, BATCH)
    rows = [draw.row for step in range(films // BATCH) for draw in order.step(step)]
    ways: dict[str, Callable[[], Iterator[object]]] = {
        "decode": lambda: (decoded(index.film(row), tokens) for row in rows),
        "plain": lambda: plain(index, rows, tokens),
        "loader": lambda: loader(index, order, tokens, films),
    }
    best = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for _ in way():
                pass
            best[name] = min(best[name], time.process_time() - start)
    reading_seconds = reading(index, rows, rounds)
    best["decode"] -= reading_seconds  # decoding alone; both others include reading
    per_film = {name: 1000 * seconds / films for name, seconds in best.items()}
    print(
        f"\nT = {tokens}, {films} films, processor ms per film: "
        + ", ".join(f"{k} {v:.2f}" for k, v in per_film.items())
    )
    print(f"  reading and parsing of sidecars {1000 * reading_seconds / films:.2f} ms, in plain and loader")
    for name, goal in (("plain", PLAIN_GOAL), ("decode", DECODE_GOAL)):
        ratio = best[name] / best["loader"]
        print(f"  loader as fast as {name}: {ratio:.2f}  (goal {goal:.2f}: {'reached' if ratio >= goal else 'MISSED'})")


def decoded(film: Film, tokens: int) -> object:
    """Decode a film at the reduction level of its layout."""
    sidecar = film.sidecar
    layout = film_layout(sidecar.rows, sidecar.columns, film.box, tokens, PATCH)
    size = (layout.grid[0] * PATCH, layout.grid[1] * PATCH)
    level = reduction_for(sidecar.rows, sidecar.columns, *size)
    return decode_film(film.stream, bits=sidecar.display.bits, reduction=level)


def plain(index: ShardIndex, rows: list[int], tokens: int) -> Iterator[object]:
    """Yield all patches of every film as tensors."""
    for row in rows:
        film = index.film(row)
        layout = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, tokens, PATCH)
        image = display_table(film.sidecar.display)[film.values(layout, PATCH)]
        patches = cut_into_patches(image, layout, PATCH)
        yield torch.from_numpy(patches.values), torch.from_numpy(patches.coords)


def loader(index: ShardIndex, order: Order, tokens: int, films: int) -> Iterator[object]:
    """Load batches as in training, in this process."""
    views = {"mae": ViewSpec(tokens=tokens, visible=0.25, predicted=0.25)}
    steps = StepRange(0, films // BATCH, rank=0, world=1, micro=BATCH)
    return training_batches(index, order, views, steps, patch=PATCH, workers=0)


def reading(index: ShardIndex, rows: list[int], rounds: int) -> float:
    """Measure the seconds to read the bytes and parse the sidecars of the films."""
    best = np.inf
    for _ in range(rounds):
        start = time.process_time()
        for row in rows:
            index.film(row)
        best = min(best, time.process_time() - start)
    return best


def show_start() -> None:
    """Print how long a training on an index of a million rows takes to its first batch, at the start and resumed."""
    with tempfile.TemporaryDirectory() as folder:
        public = write_million(Path(folder) / "public")
        start = time.perf_counter()
        index = ShardIndex([public])
        opened = time.perf_counter() - start
        print(f"\n{len(index):,} rows: index open in {opened:.2f} s")
        for first in (0, 123_456, 10 * (len(index) // 1024) + 17):
            start = time.perf_counter()
            order = Order(len(index), SEED, 1024)
            draws = next(iter(order.micro_batches(StepRange(first, first + 1, rank=0, world=8, micro=128))))
            seconds = opened + time.perf_counter() - start
            goal = "reached" if seconds < SECONDS else "MISSED"
            print(f"  first {len(draws)} draws of step {first:,}: {seconds:.2f} s  (goal {SECONDS:.0f}: {goal})")


def write_million(public: Path) -> Path:
    """Write a public folder whose index has a million rows of one split, without shards."""
    public.mkdir()
    card = DatasetCard(
        format_version=FORMAT_VERSION, dataset_sha256="0" * 64, config={}, config_sha256="0" * 64,
        key_fingerprint="0" * 32, files=FileCounts(written=MILLION, rejected=0, dropped=0), reasons={},
        films={"train": MILLION}, patients={"train": MILLION // 4}, shards={}, deidentification={},
    )  # fmt: skip
    (public / "dataset.json").write_text(card.model_dump_json(), encoding="utf-8")
    numbers = np.arange(MILLION)
    hashes = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}" for number in numbers.tolist()]
    columns = {
        "key": hashes,
        "patient": [hashes[number // 4] for number in numbers.tolist()],
        "study": [hashes[number // 2] for number in numbers.tolist()],
        "shard": [f"train-{number // 500:06d}.tar" for number in numbers.tolist()],
        "split": ["train"] * MILLION,
        "pixel_sha256": [2 * key for key in hashes],
        "patient_known": [True] * MILLION,
    }
    places = dict.fromkeys(("film_offset", "film_size", "sidecar_offset", "sidecar_size"), numbers)
    arrays = [
        pa.array((columns | places)[name], field.type)
        if name in columns or name in places
        else pa.nulls(MILLION, field.type)
        for name, field in zip(INDEX_SCHEMA.names, INDEX_SCHEMA, strict=True)
    ]
    pq.write_table(pa.table(arrays, schema=INDEX_SCHEMA), public / "index.parquet")
    return public
