"""Agreement of the content mask with the truth of synthetic films, its time, and suspicions of polarity.

python -m tests.benchmarks.sharding.content_mask [FILMS OF A KIND] [LONGER SIDE]
"""

import sys
from collections import defaultdict
from time import perf_counter

import cv2
import numpy as np

from data_prep.film.content_mask import content_mask
from data_prep.film.polarity import polarity_suspect
from tests.builders.bordered_films import BORDERS, bordered_films


def main(each: int = 4, long_side: int = 1024) -> None:
    """Print mean IoU (and the worst) per body part, look and border."""
    cv2.setNumThreads(1)
    scores: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    seconds: list[float] = []
    suspect = missed = 0
    for film in bordered_films(each, long_side):
        start = perf_counter()
        mask = content_mask(film.shown)
        seconds.append(perf_counter() - start)
        scores[film.part, film.look, film.border].append(film.agreement(mask))
        suspect += polarity_suspect(film.shown)
        missed += not polarity_suspect(65535 - film.shown)
    print(f"{'mean IoU (worst)':<16}" + "".join(f"{border:>14}" for border in BORDERS))
    for part, look in sorted({(part, look) for part, look, _ in scores}):
        row = [scores[part, look, border] for border in BORDERS]
        cells = "".join(f"{np.mean(one):.2f} ({min(one):.2f})".rjust(14) for one in row)
        print(f"{part:<8}look {look}  {cells}")
    every = [score for one in scores.values() for score in one]
    for name, place in (("part", 0), ("look", 1), ("border", 2)):
        kinds = sorted({key[place] for key in scores}, key=str)
        means = [np.mean([s for key, one in scores.items() if key[place] == kind for s in one]) for kind in kinds]
        print(f"{name:<8}" + "  ".join(f"{kind} {mean:.3f}" for kind, mean in zip(kinds, means, strict=True)))
    print(f"all {len(every)} films: mean IoU {np.mean(every):.3f}, tenth percentile {np.percentile(every, 10):.3f}")
    print(f"time per film of {long_side} pixels: median {1000 * np.median(seconds):.2f} ms")
    print(f"polarity: {suspect} right films suspected, {missed} of {len(every)} exchanged films not suspected")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
