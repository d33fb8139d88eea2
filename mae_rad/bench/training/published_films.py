"""Measure how fast films are read from object storage, against the same folder on the local disk.

    mae-rad bench published_films --shards PUBLIC --url s3://BUCKET/FOLDER [--films 256] [--workers 0] [--rounds 3]

Each way reads batches of a training (T = 196, a quarter visible, a quarter predicted) in the same order, in turn and in
several rounds; the median counts. The cache of a round is a temporary folder.

disk           the local folder, by index
storage        the published folder, by index, nothing cached: the first epoch
cache          the same once more: later epochs, as far as the cache holds the films
disk stream    the local folder through webdataset
stream         the published folder through webdataset
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import torch

from data_prep.folder_url import PublicFolder
from data_prep.object_storage.range_cache import CACHE
from data_prep.settings import folder_argument, local_argument
from mae_rad.data.batch import ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.streaming import shard_openers, streamed_batches

PATCH, BATCH, SEED = 16, 32, 1
VIEWS = {"film": ViewSpec(tokens=196, visible=0.25, predicted=0.25)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench published_films", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder")
    parser.add_argument("--url", type=folder_argument, required=True, metavar="URL", help="where it was published")
    parser.add_argument("--films", type=int, default=256, help="number of films (default: 256)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes (default: 0, in this process)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    steps = max(1, options.films // BATCH)
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            os.environ[CACHE] = cache
            for name, rate in _round(options.shards, options.url, steps, options.workers):
                rates.setdefault(name, []).append(rate)
    for name, values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"{name:<12} {statistics.median(values):8.1f} films/s   ({spread}, {options.workers} workers)")


def _round(shards: PublicFolder, url: PublicFolder, steps: int, workers: int) -> Iterator[tuple[str, float]]:
    local, published = ShardIndex([shards]), ShardIndex([url])
    order, part = Order(len(local), SEED, BATCH), StepRange(0, steps, 0, 1, BATCH)
    for name, index in (("disk", local), ("storage", published), ("cache", published)):
        yield name, _rate(training_batches(index, order, VIEWS, part, patch=PATCH, workers=workers))
    for name, index, folder in (("disk stream", local, shards), ("stream", published, url)):
        openers = shard_openers([folder], split="train")
        streamed = streamed_batches(
            index, openers, VIEWS, part, global_batch=BATCH, patch=PATCH, seed=SEED, workers=workers,
            scheduled_steps=steps,
        )  # fmt: skip
        yield name, _rate(streamed)


def _rate(batches: Iterator[object]) -> float:
    """Films per second, from the second batch on: loader processes and connections have started then."""
    next(batches)
    start = time.perf_counter()
    films = sum(BATCH for _ in batches)
    return films / (time.perf_counter() - start)
