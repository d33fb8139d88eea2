r"""Summarise a demonstration on one screen: what was learned, where to look, what to type next.

    mae-rad bench demo_summary RUNS/comparison --head RUNS/foreign_object --predictions OUT --truth ARCHIVE/truth \
      --longer "make demo DEMO=full"

Everything is read from the results of `compare`, `finetune` and `predict`, and from the truth of a synthetic archive:
scores between random weights, raw pixels and ceiling; the difference to the better of these two floors with its 95 %
interval over patients, and whether it is above both floors, corrected for the number of scores; the test films of the
head; and how many of the predictions agree with the truth.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from data_prep.shard_format.boxes import EDGES, box_iou
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.report.learned import learned_rows
from mae_rad.evaluation.report.report_page import PAGE
from mae_rad.evaluation.results.display_names import metric_of, plain_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import FLOORS, RANDOM_BASELINE, RAW_PIXELS, Row, read_comparison
from mae_rad.tracking import default_uri, open_command

PROBE = "linear"
FILM_METRICS = ("auroc", "film_auroc")
"""AUROC of films, as a classification and as a detection name it."""
ANSWERS = {"yes": "above both", "no": "not above both", "not shown": "not shown", "": ""}


class Agreement(NamedTuple):
    """How predictions agree with the truth.

    Attributes:
        films: films with a prediction.
        right: of these, films on whose side of the threshold the truth is.
        found: films with an object whose highest box touches a true one; None without boxes.
        positive: films with an object.
        point: name of the operating point.
    """

    films: int
    right: int
    found: int | None
    positive: int
    point: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench demo_summary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", type=Path, metavar="COMPARISON", help="folder of a comparison")
    parser.add_argument("--head", type=Path, required=True, metavar="RUN", help="run folder of a finetuning")
    parser.add_argument("--predictions", type=Path, required=True, metavar="OUT", help="folder of `mae-rad predict`")
    parser.add_argument("--truth", type=Path, required=True, metavar="TRUTH", help="folder `truth` of the films of OUT")
    parser.add_argument("--longer", default="", metavar="COMMAND", help="what to run if an encoder learned too little")
    options = parser.parse_args(arguments)
    results = ComparisonResults(read_comparison(options.comparison / "comparison.parquet"))
    label, head = head_text(options.head)
    lines = [
        "",
        *learned_text(results, options.longer),
        head,
        prediction_text(options.predictions, options.truth, label),
    ]
    print("\n".join([*lines, "", *places_text(options.comparison, options.head, options.predictions)]))
    return 0


def learned_text(results: ComparisonResults, longer: str = "") -> list[str]:
    """Build the table of scores, and a sentence per encoder.

    Args:
        results: a comparison with floors.
        longer: command that trains longer, named if an encoder is not above both floors everywhere.

    Raises:
        EvaluationError: it has no score between floors.
    """
    rows = [row for task in results.tasks for row in learned_rows(results, task, PROBE)]
    if not rows:
        raise EvaluationError(
            "The comparison has no score of a linear probe beside floors. Write it with: mae-rad compare"
        )
    columns = f"{'question':<20}{'films':>6}{'random':>8}{'pixels':>8}{'ceiling':>9}"
    lines = [
        f"WHAT WAS LEARNED, without labels: {metric_of(rows[0].metric).name} of a linear probe, on test patients",
        f"{columns}   {'encoder':<10}score  above the better floor by",
    ]
    previous = ""
    for row in rows:
        floors = "".join(f"{_value(results, row.task, name):>8}" for name in (RANDOM_BASELINE, RAW_PIXELS))
        facts = f"{plain_name(row.task):<20}{row.n_films:>6}{floors}{_number(row.ceiling):>9}"
        lines.append(f"{facts if row.task != previous else ' ' * len(facts)}   {_score(results, row)}")
        previous = row.task
    names = list(dict.fromkeys(row.encoder for row in rows))
    lines += [_sentence(name, [row for row in rows if row.encoder == name]) for name in names]
    if longer and any(row.above_floors != "yes" for row in rows):
        lines.append(f"More films and longer training may show more: {longer}")
    return lines


def head_text(run: Path) -> tuple[str, str]:
    """Describe the test films of a finetuned head.

    Args:
        run: its run folder.

    Returns:
        Its first label, and the text.

    Raises:
        EvaluationError: the run has no AUROC of test films.
    """
    try:
        table = pq.read_table(run / "evaluation" / "results.parquet").to_pylist()
    except FileNotFoundError:
        raise EvaluationError(f"{run} has no evaluation. Finish it with the same mae-rad finetune") from None
    test = [row for row in table if row["split"] == "test" and row["subset"] == "all"]
    film = next((row for row in test if row["metric"] in FILM_METRICS), None)
    if film is None:
        raise EvaluationError(f"{run} has no AUROC of test films. Give a classification or detection with a test split")
    boxes = next((row for row in test if row["metric"] == "ap50" and row["label"] == film["label"]), None)
    also = "" if boxes is None else f"; boxes: AP50 {_interval(boxes['value'], boxes['low'], boxes['high'])}"
    figure = _interval(film["value"], film["low"], film["high"])
    name = plain_name(film["label"])
    return film["label"], f"Finetuned head, {name}: AUROC {figure} on {film['n_films']:,} test films{also}"


def prediction_text(predictions: Path, truth: Path, label: str) -> str:
    """Describe how predictions agree with the truth.

    Args:
        predictions: folder of `mae-rad predict`.
        truth: folder `truth` of the synthetic archive with the predicted films.
        label: a label of the model.
    """
    found = agreement(predictions, truth, label)
    boxes = (
        "" if found.found is None else f"; highest box on an object in {found.found} of {found.positive} that have one"
    )
    return f"Predictions of new films: {found.right} of {found.films} right at {found.point}{boxes}"


def agreement(predictions: Path, truth: Path, label: str) -> Agreement:
    """Compare predictions with the truth, see :func:`prediction_text`.

    Raises:
        EvaluationError: no predicted film is in the truth.
    """
    true_boxes = dict(_true_boxes(truth / "truth.jsonl", label))
    answers = [row for row in _rows(predictions / "predictions.csv") if row.get(label)]
    present = {
        row["path"]: boxes for row in answers for path, boxes in true_boxes.items() if row["path"].endswith(path)
    }
    if not present:
        raise EvaluationError(
            f"{truth} is not the truth of the films in {predictions}. Give the folder of their archive"
        )
    point = next((name for name in answers[0] if name.startswith(f"{label} ")), None)
    if point is None:
        raise EvaluationError(f"{predictions} has no operating point: val has too few films. Train on more patients")
    known = [row for row in answers if row["path"] in present]
    right = sum((row[point] == "above") == bool(len(present[row["path"]])) for row in known)
    positive = [path for path, boxes in present.items() if len(boxes)]
    touched = None
    if (predictions / "boxes.csv").exists():
        best = _highest_boxes(predictions / "boxes.csv", label)
        touched = sum(path in best and box_iou(best[path][None], present[path]).any() for path in positive)
    return Agreement(len(known), right, touched, len(positive), point.removeprefix(f"{label} "))


def places_text(comparison: Path, head: Path, predictions: Path) -> list[str]:
    """List where the results are, and what to type next.

    Args:
        comparison: folder of a comparison, beside the compared runs.
        head: run folder of a finetuning.
        predictions: folder of `mae-rad predict`.
    """
    runs = comparison.parent
    samples = [str(path) for path in sorted(runs.glob("*/samples"))]
    encoder = next((path.parent for path in sorted(runs.glob("*/encoder"))), runs)
    return [
        "WHERE TO LOOK",
        f"  report       {comparison / PAGE}",
        f"  pictures     {'   '.join([*samples, str(head / 'evaluation'), str(predictions / 'overlays')])}",
        f"  MLflow       {open_command(default_uri(runs))}",
        f"               menu Views of the experiment: {comparison.name}: all tasks",
        "WHAT TO TYPE NEXT, for your own films (README, From archive to answer)",
        "  mae-rad scan YOUR_ARCHIVE --out PRIVATE",
        f"  mae-rad embed {encoder} shards=PUBLIC out=embeddings.parquet",
        f"  mae-rad predict {head} YOUR_FILMS out=ANSWERS",
    ]


def _value(results: ComparisonResults, task: str, encoder: str) -> str:
    row = next((row for row in results.values(task, PROBE) if row.encoder == encoder), None)
    return _number(None if row is None else row.interval.value)


def _score(results: ComparisonResults, row: Row) -> str:
    """Score of an encoder, and its smaller difference to a floor."""
    differences = [
        other.difference
        for other in results.differences(row.task, PROBE)
        if other.encoder == row.encoder and other.reference in FLOORS and other.difference is not None
    ]
    least = min(differences, key=lambda difference: difference.value, default=None)
    text = "" if least is None else _interval(*least, sign="+")
    return f"{row.encoder:<10} {row.interval.value:.2f}   {text:<22} {ANSWERS[row.above_floors]}".rstrip()


def _sentence(encoder: str, rows: Sequence[Row]) -> str:
    shown = [plain_name(row.task) for row in rows if row.above_floors == "yes"]
    what = f" ({', '.join(shown)})" if shown else ""
    return (
        f"{encoder} is shown to be above random weights and raw pixels for {len(shown)} of {len(rows)} questions{what}."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]".replace("-", "−")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _true_boxes(path: Path, label: str) -> Iterator[tuple[str, np.ndarray]]:
    """Path of each film of a synthetic archive → [N, 4] boxes of a finding."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] == "film":
            yield row["path"], np.array([one["box"] for one in row[label]]).reshape(-1, 4)


def _highest_boxes(path: Path, label: str) -> dict[str, np.ndarray]:
    """Film → [4] its predicted box with the highest score."""
    best: dict[str, tuple[float, np.ndarray]] = {}
    for row in _rows(path):
        score = float(row["score"])
        if row["label"] == label and score > best.get(row["path"], (-1.0, np.empty(0)))[0]:
            best[row["path"]] = score, np.array([float(row[edge]) for edge in EDGES])
    return {path: box for path, (_, box) in best.items()}
