r"""Measure the effect of resolution on a detection: FROC by T and size of the objects, as a table and a figure.

    mae-rad bench resolution_boxes RUN… --shards PUBLIC --out FOLDER [--edges 10 20] \
        [--label foreign_object]

RUNs are finished detections that differ only in film.tokens. The score is FROC (object-CXR) on the test films for the
objects of each range of sizes, with 95 % intervals over patients; predictions in objects of other sizes are ignored.
The size is the longer side in pixels at T = 1024; at T = 256 an object is half as large, at T = 64 a quarter.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from data_prep.settings import local_argument
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.detection.froc import centres_inside, froc, rank_centres
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.evaluation.statistics.intervals import Interval, bootstrap, interval, with_rule_of_three
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.compare_heads import read_test_films

Sizes = tuple[float, float]
"""[lower, upper) bound of the longer side, in pixels at T = 1024."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench resolution_boxes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="finished detections")
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder of the test films")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the figure")
    parser.add_argument("--label", default="foreign_object", help="label of the boxes (default: foreign_object)")
    parser.add_argument(
        "--edges", type=float, nargs="+", default=[10, 20], help="limits of the sizes in pixels (default: 10 20)"
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    edges = [0.0, *options.edges, math.inf]
    sizes: list[Sizes] = [(0.0, math.inf), *pairwise(edges)]
    runs = {load_predictor(run).card.tokens: read_test_films(run)[options.label] for run in options.runs}
    keys = sorted(set.intersection(*(set(films) for films in runs.values())))
    table = ShardIndex([options.shards], split=None).table
    patient_of = dict(zip(table.column("key").to_pylist(), table.column("patient").to_pylist(), strict=True))
    patients = np.unique([patient_of[key] for key in keys], return_inverse=True)[1].astype(np.int64)
    intervals: dict[Sizes, dict[int, Interval]] = {}
    counts: dict[Sizes, int] = {}
    print(f"{options.label}: FROC on {len(keys)} test films of {len(np.unique(patients))} patients")
    for size in sizes:
        of_size = {tokens: [_only(films[key], size) for key in keys] for tokens, films in sorted(runs.items())}
        intervals[size], counts[size] = (
            _froc_intervals(of_size, patients),
            sum(len(film.true) for film in next(iter(of_size.values()))),
        )
        cells = [f"T {tokens}: {i.value:.3f} [{i.low:.3f}, {i.high:.3f}]" for tokens, i in intervals[size].items()]
        print(f"{_range_text(size):<14}{counts[size]:>5} objects   {'   '.join(cells)}")
    _draw(intervals, counts, options.label, options.out / "resolution_boxes.png")
    print(f"figure: {options.out / 'resolution_boxes.png'}")


def _only(film: object, size: Sizes) -> FilmDetections:
    """Keep the objects of one range of sizes, without the predictions that hit another object."""
    assert isinstance(film, FilmDetections)  # classifications have no boxes
    sides = (film.true[:, 2:] - film.true[:, :2]).max(axis=1, initial=0) * film.unit
    of_size = (sides >= size[0]) & (sides < size[1])
    inside = centres_inside(film)
    kept = ~inside[:, ~of_size].any(axis=1) | inside[:, of_size].any(axis=1)
    return film._replace(predicted=film.predicted[kept], scores=film.scores[kept], true=film.true[of_size])


def _froc_intervals(films: Mapping[int, Sequence[FilmDetections]], patients: NDArray[np.int64]) -> dict[int, Interval]:
    ranked = {tokens: rank_centres(detections) for tokens, detections in films.items()}
    estimates = {str(t): [lambda weights, centres=centres: froc(centres, weights)] for t, centres in ranked.items()}
    drawn = bootstrap(patients, estimates, repetitions=1000, seed=0)
    any_films = next(iter(films.values()))
    carriers = len(np.unique(patients[[len(film.true) > 0 for film in any_films]]))
    by_tokens = {
        tokens: with_rule_of_three(interval(drawn[str(tokens)]), carriers) for tokens in films
    }  # an estimate of 0 still has an interval
    return {tokens: each._replace(low=max(0.0, each.low)) for tokens, each in by_tokens.items()}


def _range_text(size: Sizes) -> str:
    low, high = size
    if high == math.inf:
        return "all sizes" if low == 0 else f"from {low:g} px"
    return f"under {high:g} px" if low == 0 else f"{low:g} to {high:g} px"


def _draw(
    intervals: Mapping[Sizes, Mapping[int, Interval]], counts: Mapping[Sizes, int], label: str, path: Path
) -> None:
    figure, axes = plt.subplots(
        1, len(intervals), figsize=(2.8 * len(intervals) + 0.6, 3.4), sharey=True, squeeze=False
    )
    for axis, (size, by_tokens) in zip(axes[0], intervals.items(), strict=True):
        sides = [16 * math.sqrt(tokens) for tokens in by_tokens]
        values = [estimate.value for estimate in by_tokens.values()]
        errors = [
            [estimate.value - estimate.low for estimate in by_tokens.values()],
            [estimate.high - estimate.value for estimate in by_tokens.values()],
        ]
        axis.errorbar(sides, values, yerr=errors, marker="o", capsize=3, color="#0072B2")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sides, [f"{side:.0f}" for side in sides])
        axis.minorticks_off()
        axis.set_xlabel("side of a square film (pixels)")
        axis.set_title(f"{_range_text(size)} at T = 1024\n{counts[size]} objects", fontsize=9)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel(f"FROC of {label}, 95 % over patients")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
