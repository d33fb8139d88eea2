r"""Measure which pooling to choose for the vector of a film: scores on the validation films, as a table.

    mae-rad bench film_vector RUN… --shards PUBLIC --out FOLDER --column sex --label fracture --number bone_age \
        [--pools mean "mean+deviation of blocks 3 6 9 12"] [--equal-width 192]

Training and validation films are embedded once with every encoder and a randomly initialised one; test films are not
read. A linear probe learns from the training films and is scored on the validation films: logistic regression for the
classes of a column or label (AUROC; macro AUROC of more than two classes), ridge regression for the numbers of a label
(R²). Its penalty is chosen within the training films. Intervals are over patients; differences, to the first pooling of
the same encoder, are paired. With ten thousand films a probe of classes takes seconds at 200 numbers and
minutes above a thousand. Write the choice into the card with: mae-rad vector RUN POOLING
"""

import argparse
import copy
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.model_selection import GroupShuffleSplit

from data_prep.runtime.progress import Progress
from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale
from mae_rad.encoders.pooling_name import parse_pooling
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import find_candidates
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate, embed_all_candidates
from mae_rad.evaluation.comparison.settings import CompareRuntimeSettings, CompareSettings, TaskSettings, VectorChoice
from mae_rad.evaluation.comparison.tasks import Films, build_tasks
from mae_rad.evaluation.comparison.trained_probes import compared_metrics, plan_probe, probe_vectors
from mae_rad.evaluation.statistics.intervals import Interval, bootstrap, contrast, interval
from mae_rad.evaluation.statistics.metrics import Estimate, Floats
from mae_rad.export.encoder_folder import read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Penalties of the ridge regression on standardised vectors."""
_CHOOSING_SHARE = 0.2
"""Share of the training patients on which the penalty of the ridge regression is chosen."""


class PoolingTask(NamedTuple):
    """One metric of every encoder and pooling on the same validation films.

    Attributes:
        name: column or label, with the metric.
        patients: [N] number of the patient of each film.
        estimates: (encoder, pooling) → function of the weights of the films.
    """

    name: str
    patients: NDArray[np.int64]
    estimates: Mapping[tuple[str, str], Estimate]


class PoolingScore(NamedTuple):
    """A line of the table."""

    encoder: str
    pool: str
    width: int
    task: str
    value: Interval
    difference: Interval | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed, probe, print the table and write it as CSV; returns the exit code."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    scores = measure(options)
    print(format_scores(scores))
    with (options.out / "film_vector.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("encoder", "pool", "width", "task", "value", "low", "high", "difference", "low", "high"))
        for score in scores:
            writer.writerow((*score[:4], *score.value, *(score.difference or ("", "", ""))))
    print(f"\ntable: {options.out / 'film_vector.csv'}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench film_vector", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or exported encoders")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="PUBLIC", help="public folders")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of vectors and table")
    parser.add_argument("--column", nargs="*", default=[], help="index columns whose values are classes")
    parser.add_argument("--label", nargs="*", default=[], help="labels that are present or absent")
    parser.add_argument("--number", nargs="*", default=[], help="labels with a number")
    parser.add_argument(
        "--pools", nargs="+", metavar="POOLING", help="poolings (default: eight, from one token to regions)"
    )
    parser.add_argument("--equal-width", type=int, metavar="N", help="also score the first N principal components")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="seeds of random encoders (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read films (default: 2)")
    parser.add_argument("--repetitions", type=int, default=1000, help="bootstrap resamples (default: 1000)")
    return parser.parse_args(arguments)


def default_pools(depth: int) -> list[str]:
    """Return poolings to try: of the last block, of four blocks at equal distance, with deviations and regions.

    Args:
        depth: number of blocks of the encoder.
    """
    blocks = " ".join(str(number) for number in sorted({max(1, round(depth * part / 4)) for part in range(1, 5)}))
    several = f"of blocks {blocks}"
    pools = ["mean", "cls", "cls_mean", "mean+deviation", "mean+deviation and 2 x 2 regions"]
    pools += [f"mean {several}", f"mean+deviation {several}", f"mean+deviation {several} and 2 x 2 regions"]
    return [parse_pooling(pool).name for pool in pools]


def measure(options: argparse.Namespace) -> list[PoolingScore]:
    """Score every encoder and pooling on every task.

    Raises:
        EvaluationError: no task can be evaluated on these films, or an encoder lacks a block of a pooling.
    """
    depth = min(read_card(encoder_folder(run)).encoder.shape.depth for run in options.runs)
    settings = CompareSettings(
        shards=options.shards,
        out=options.out,
        pools=options.pools or default_pools(depth),
        equal_width=options.equal_width,
        random_seeds=options.seeds,
        pixel_components=0,
        tasks=[
            *(TaskSettings(column=name) for name in options.column),
            *(TaskSettings(label=n) for n in options.label),
        ],
        label_fractions=[1.0],
        repetitions=options.repetitions,
        runtime=CompareRuntimeSettings(workers=options.workers, processes=1),
    )
    films = without_test_films(Films(settings.shards))
    candidates = find_candidates(options.runs, settings, films.dataset_sha256)
    training_rows = np.flatnonzero(films.split == "train")
    encoders = embed_all_candidates(candidates, settings, films.index, training_rows=training_rows, token_rows=None)
    vectors = list(_selected_vectors(encoders, settings))
    scored_tasks = [*_class_tasks(films, encoders, settings), *_number_tasks(films, options.number, vectors)]
    if not scored_tasks:
        raise EvaluationError(
            "no task can be evaluated on these films. Give --column, --label or --number that train and val have."
        )
    return [score for task in scored_tasks for score in _scores(task, vectors, settings)]


def without_test_films(films: Films) -> Films:
    """Return the training and validation films; the split of the latter is ``test``, where probes are scored."""
    kept = np.flatnonzero(films.split != "test")
    part = copy.copy(films)
    part.index = films.index.subset(kept)
    part.table, part.keys = part.index.table, [films.keys[row] for row in kept]
    part.patients = films.patients[kept]
    part.split = np.where(films.split[kept] == "val", "test", films.split[kept])
    return part


class _Selected(NamedTuple):
    """Vectors [films, W] of one encoder and pooling, the matrix behind them and W before a reduction."""

    encoder: str
    pool: str
    width: int
    rows: Callable[[NDArray[np.int64]], Vectors]


def _selected_vectors(encoders: Sequence[EmbeddedCandidate], settings: CompareSettings) -> Iterator[_Selected]:
    for encoder in encoders:
        for choice in settings.choices:
            if choice.components is None or encoder.is_wider(choice):
                pool = encoder.tokens_and_pool(choice)[1]

                def rows(
                    chosen: NDArray[np.int64], encoder: EmbeddedCandidate = encoder, choice: VectorChoice = choice
                ) -> Vectors:
                    return encoder.vectors(choice, chosen)

                yield _Selected(encoder.name, pool, choice.components or encoder.width(choice), rows)


def _class_tasks(
    films: Films, encoders: Sequence[EmbeddedCandidate], settings: CompareSettings
) -> Iterator[PoolingTask]:
    """Train the linear probe of the comparison on every task and pooling."""
    tasks, skipped = build_tasks(films, settings.tasks, all_labels=False, min_patients=settings.min_patients)
    for missing in skipped:
        print(f"{missing.name} is left out: {missing.reason.replace('test', 'validation')}")
    for task in tasks:
        plan = plan_probe(task, settings)
        estimates: dict[tuple[str, str], Estimate] = {}
        patients, name = np.empty(0, np.int64), task.name
        chosen_encoders = [
            [encoder for encoder in encoders if choice.components is None or encoder.is_wider(choice)]
            for choice in settings.choices
        ]
        progress = Progress(task.name, "probes", sum(map(len, chosen_encoders)))
        for number, (choice, chosen) in enumerate(zip(settings.choices, chosen_encoders, strict=True)):
            outputs = probe_vectors(plan, chosen, "linear", choice, 1.0, partial(_count, progress))
            if not outputs:
                continue
            selected = {encoder.name: encoder.tokens_and_pool(choice) for encoder in chosen}
            metric = next(iter(compared_metrics(
                plan, outputs, probe="linear", vectors=selected, choice=number, fraction=1.0, subsets={}
            )))  # fmt: skip
            patients, name = metric.patients, f"{task.name}, {metric.metric}"
            estimates |= {(encoder, selected[encoder][1]): draws[0] for encoder, draws in metric.estimates.items()}
        progress.close()
        yield PoolingTask(name, patients, estimates)


def _count(progress: Progress, encoder: str) -> None:
    progress.add(note=encoder)


def _number_tasks(films: Films, labels: Sequence[str], vectors: Sequence[_Selected]) -> Iterator[PoolingTask]:
    """Fit a ridge regression of every label's number on every encoder and pooling."""
    for label in labels:
        numbers = _numbers(films, label)
        train, val = (np.flatnonzero(np.isfinite(numbers) & (films.split == split)) for split in ("train", "test"))
        if min(len(np.unique(films.patients[rows])) for rows in (train, val)) < 10:
            print(f"{label} is left out: fewer than 10 training or validation patients have a number")
            continue
        estimates: dict[tuple[str, str], Estimate] = {}
        progress = Progress(label, "probes", len(vectors))
        for selected in vectors:
            predicted = predict_numbers(selected.rows(train), numbers[train], films.patients[train], selected.rows(val))
            estimates[selected.encoder, selected.pool] = _r2(numbers[val], predicted)
            progress.add(note=selected.encoder)
        progress.close()
        yield PoolingTask(f"{label}, R²", films.patients[val], estimates)


def _numbers(films: Films, label: str) -> Floats:
    """Mean number of each film [films] over its label entries, NaN where it has none."""
    entries = films.labels.filter(pc.equal(films.labels.column("label"), label))
    place = {key: row for row, key in enumerate(films.keys)}
    total, count = np.zeros(len(films.keys)), np.zeros(len(films.keys))
    for key, number in zip(entries.column("key").to_pylist(), entries.column("number").to_pylist(), strict=True):
        if number is not None and key in place:
            total[place[key]] += number
            count[place[key]] += 1
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def predict_numbers(train: Vectors, y: Floats, patients: NDArray[np.int64], scored: Vectors) -> Floats:
    """Predict numbers by ridge regression on standardised vectors.

    Args:
        train: [N, W] vectors of the training films.
        y: [N] their numbers.
        patients: [N] number of the patient; some are set aside to choose the penalty, then used for the fit, too.
        scored: [M, W] vectors of the films to predict.

    Returns:
        [M] predicted numbers.
    """
    scale = fit_scale(train)
    x, z = (Standardised(vectors, scale).array() for vectors in (train, scored))
    ((fit, choose),) = GroupShuffleSplit(1, test_size=_CHOOSING_SHARE, random_state=0).split(x, y, patients)
    if x.shape[1] > len(x):  # the dual form: products of films instead of products of channels
        products = (x @ x.T).astype(np.float64)
        of_fit, of_chosen, of_scored = products[np.ix_(fit, fit)], products[np.ix_(choose, fit)], z @ x.T
        right = [y[fit] - y[fit].mean(), y - y.mean()]
    else:
        products = (x.T @ x).astype(np.float64)
        of_fit, of_chosen, of_scored = products - x[choose].T @ x[choose], x[choose], z
        right = [x[fit].T @ (y[fit] - y[fit].mean()), x.T @ (y - y.mean())]
    errors = [
        float(np.square(of_chosen @ _solved(of_fit, penalty, right[0]) + y[fit].mean() - y[choose]).mean())
        for penalty in PENALTIES
    ]
    weights = _solved(products, PENALTIES[int(np.argmin(errors))], right[1])
    return np.asarray(of_scored @ weights + y.mean(), dtype=np.float64)


def _solved(products: Floats, penalty: float, right: Floats) -> Floats:
    return np.asarray(solve(products + penalty * np.eye(len(products)), right, assume_a="pos"))


def _r2(y: Floats, predicted: Floats) -> Estimate:
    """Coefficient of determination as a function of the weights [R, N] of the films."""

    def estimate(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        mean = (weights @ y)[:, None] / total
        spread = (weights * np.square(y - mean)).sum(axis=1)
        return np.asarray(1 - weights @ np.square(y - predicted) / spread)

    return estimate


def _scores(task: PoolingTask, vectors: Sequence[_Selected], settings: CompareSettings) -> Iterator[PoolingScore]:
    names = {f"{encoder}\n{pool}": estimate for (encoder, pool), estimate in task.estimates.items()}
    samples = bootstrap(
        task.patients, {name: [estimate] for name, estimate in names.items()},
        repetitions=settings.repetitions, seed=settings.seed,
    )  # fmt: skip
    first: dict[str, str] = {}
    for selected in vectors:
        name = f"{selected.encoder}\n{selected.pool}"
        reference = first.setdefault(selected.encoder, name)
        difference = None if reference == name else contrast(samples[name], samples[reference]).interval
        yield PoolingScore(*selected[:3], task.name, interval(samples[name]), difference)


def format_scores(scores: Sequence[PoolingScore]) -> str:
    """Format the table: a line per encoder and pooling, a column per task with the difference to the first line."""
    scored_tasks = list(dict.fromkeys(score.task for score in scores))
    cells = {(score.encoder, score.pool, score.task): score for score in scores}
    lines = []
    for encoder in dict.fromkeys(score.encoder for score in scores):
        of_encoder = [score for score in scores if score.encoder == encoder]
        pools = dict.fromkeys((score.pool, score.width) for score in of_encoder)
        longest = max(len(pool) for pool, _ in pools)
        lines += ["", f"{encoder}, validation films; values [95 %], differences to {of_encoder[0].pool}"]
        lines.append(f"  {'pooling':<{longest}}  width" + "".join(f"  {task:<44}" for task in scored_tasks).rstrip())
        for pool, width in pools:
            row = [_cell(cells[encoder, pool, task]) for task in scored_tasks]
            lines.append((f"  {pool:<{longest}}  {width:>5}" + "".join(f"  {cell:<44}" for cell in row)).rstrip())
    return "\n".join(lines).strip()


def _cell(score: PoolingScore) -> str:
    value, low, high = score.value
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return text if score.difference is None else text + " {:+.3f} [{:+.3f}, {:+.3f}]".format(*score.difference)
