r"""What resolution is worth to a detection: objects of each size that are found, by T, as a table and a figure.

    mae-rad bench resolution_boxes RUN… --shards PUBLIC --out FOLDER [--edges 10 20] \
        [--label foreign_object]

RUNs are finished detections that differ in film.tokens alone. The score is FROC (object-CXR) on the test films, for the
objects of one size after the other, with 95 % intervals over patients: centres in objects of another size count
neither for nor against. Sizes are the longer side at T = 1024; at T = 64 (128 pixels on a square film) an object is a
quarter of that, at T = 256 half.
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

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.detection.froc import centres_inside, froc, rank_centres
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.evaluation.statistics.intervals import Interval, bootstrap, interval, widened
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.compare_heads import tested_films

Sizes = tuple[float, float]
"""From, to, of the longer side in pixels at T = 1024."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench resolution_boxes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", default="foreign_object")
    parser.add_argument("--edges", type=float, nargs="+", default=[10, 20])
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    edges = [0.0, *given.edges, math.inf]
    sizes: list[Sizes] = [(0.0, math.inf), *pairwise(edges)]
    runs = {load_predictor(run).card.tokens: tested_films(run)[given.label] for run in given.runs}
    keys = sorted(set.intersection(*(set(films) for films in runs.values())))
    table = ShardIndex([given.shards], split=None).table
    patient_of = dict(zip(table.column("key").to_pylist(), table.column("patient").to_pylist(), strict=True))
    patients = np.unique([patient_of[key] for key in keys], return_inverse=True)[1].astype(np.int64)
    found: dict[Sizes, dict[int, Interval]] = {}
    counts: dict[Sizes, int] = {}
    print(f"{given.label}: FROC on {len(keys)} test films of {len(np.unique(patients))} patients")
    for size in sizes:
        of_size = {tokens: [_only(films[key], size) for key in keys] for tokens, films in sorted(runs.items())}
        found[size], counts[size] = (
            _froc_intervals(of_size, patients),
            sum(len(one.true) for one in next(iter(of_size.values()))),
        )
        cells = [f"T {tokens}: {i.value:.3f} [{i.low:.3f}, {i.high:.3f}]" for tokens, i in found[size].items()]
        print(f"{_words(size):<14}{counts[size]:>5} objects   {'   '.join(cells)}")
    _draw(found, counts, given.label, given.out / "resolution_boxes.png")
    print(f"figure: {given.out / 'resolution_boxes.png'}")


def _only(film: object, size: Sizes) -> FilmDetections:
    """The film with the objects of a size alone, without the predictions that hit another one."""
    assert isinstance(film, FilmDetections)  # or the runs would be classifications
    sides = (film.true[:, 2:] - film.true[:, :2]).max(axis=1, initial=0) * film.unit
    of_size = (sides >= size[0]) & (sides < size[1])
    inside = centres_inside(film)
    kept = ~inside[:, ~of_size].any(axis=1) | inside[:, of_size].any(axis=1)
    return film._replace(predicted=film.predicted[kept], scores=film.scores[kept], true=film.true[of_size])


def _froc_intervals(films: Mapping[int, Sequence[FilmDetections]], patients: NDArray[np.int64]) -> dict[int, Interval]:
    ranked = {tokens: rank_centres(of) for tokens, of in films.items()}
    estimates = {str(t): [lambda weights, one=one: froc(one, weights)] for t, one in ranked.items()}
    drawn = bootstrap(patients, estimates, repetitions=1000, seed=0)
    one = next(iter(films.values()))
    carriers = len(np.unique(patients[[len(film.true) > 0 for film in one]]))
    found = {
        tokens: widened(interval(drawn[str(tokens)]), carriers) for tokens in films
    }  # nothing found is not certain
    return {tokens: each._replace(low=max(0.0, each.low)) for tokens, each in found.items()}


def _words(size: Sizes) -> str:
    low, high = size
    if high == math.inf:
        return "all sizes" if low == 0 else f"from {low:g} px"
    return f"under {high:g} px" if low == 0 else f"{low:g} to {high:g} px"


def _draw(found: Mapping[Sizes, Mapping[int, Interval]], counts: Mapping[Sizes, int], label: str, path: Path) -> None:
    figure, axes = plt.subplots(1, len(found), figsize=(2.8 * len(found) + 0.6, 3.4), sharey=True, squeeze=False)
    for axis, (size, by_tokens) in zip(axes[0], found.items(), strict=True):
        sides = [16 * math.sqrt(tokens) for tokens in by_tokens]
        values = [one.value for one in by_tokens.values()]
        reach = [
            [one.value - one.low for one in by_tokens.values()],
            [one.high - one.value for one in by_tokens.values()],
        ]
        axis.errorbar(sides, values, yerr=reach, marker="o", capsize=3, color="#0072B2")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sides, [f"{side:.0f}" for side in sides])
        axis.minorticks_off()
        axis.set_xlabel("side of a square film (pixels)")
        axis.set_title(f"{_words(size)} at T = 1024\n{counts[size]} objects", fontsize=9)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel(f"FROC of {label}, 95 % over patients")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
