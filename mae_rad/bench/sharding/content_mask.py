"""Measure agreement and time of the content mask, and false alarms of the polarity check, on synthetic films.

    mae-rad bench content_mask [--films 4] [--side 1024]

Films of every body part, scanner and kind of border are rendered for it.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter

import cv2
import numpy as np

from data_prep.film.content_mask import content_mask
from data_prep.film.polarity import polarity_suspect
from mae_rad.bench.sharding.bordered_films import BORDERS, bordered_films


def main(arguments: Sequence[str] | None = None) -> None:
    """Print mean and lowest IoU per body part, scanner and border."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench content_mask", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=4, help="films per body part, scanner and border (default: 4)")
    parser.add_argument("--side", type=int, default=1024, help="longer side in pixels (default: 1024)")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    scores: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    seconds: list[float] = []
    suspect = missed = 0
    for film in bordered_films(options.films, options.side):
        start = perf_counter()
        mask = content_mask(film.shown)
        seconds.append(perf_counter() - start)
        scores[film.part, film.scanner, film.border].append(film.agreement(mask))
        suspect += polarity_suspect(film.shown)
        missed += not polarity_suspect(65535 - film.shown)
    print(f"{'mean IoU (lowest)':<17}" + "".join(f"{border:>14}" for border in BORDERS))
    for part, scanner in sorted({(part, scanner) for part, scanner, _ in scores}):
        row = [scores[part, scanner, border] for border in BORDERS]
        cells = "".join(f"{np.mean(values):.2f} ({min(values):.2f})".rjust(14) for values in row)
        print(f"{part:<8}scanner {scanner}{cells}")
    every = [score for values in scores.values() for score in values]
    for name, place in (("part", 0), ("scanner", 1), ("border", 2)):
        kinds = sorted({key[place] for key in scores}, key=str)
        means = [np.mean([s for key, values in scores.items() if key[place] == kind for s in values]) for kind in kinds]
        print(f"{name:<8}" + "  ".join(f"{kind} {mean:.3f}" for kind, mean in zip(kinds, means, strict=True)))
    print(f"all {len(every)} films: mean IoU {np.mean(every):.3f}, tenth percentile {np.percentile(every, 10):.3f}")
    print(f"time per film of {options.side} pixels: median {1000 * np.median(seconds):.2f} ms")
    print(f"polarity: {suspect} correct films suspected, {missed} of {len(every)} inverted films not suspected")
