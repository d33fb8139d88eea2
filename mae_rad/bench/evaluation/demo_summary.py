r"""Summarise a demonstration on one screen: what was learned, where to look, what to type next.

    mae-rad bench demo_summary RUNS/comparison --head RUNS/findings --predictions OUT --truth ARCHIVE/truth \
      --longer "make demo DEMO=full"

Everything is read from the results of `compare`, `finetune` and `predict`, and from the truth of a synthetic archive:
scores between random weights, raw pixels and ceiling; the difference to the better of these two floors with its 95 %
interval over patients, and whether it is above both floors, corrected for the number of scores; the test films of the
head; and how many of the predictions agree with the truth.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

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
PRESENT = 0.5
"""Probability, or score of the best box, from which a finding counts as present."""
ANSWERS = {"yes": "above both", "no": "not above both", "not shown": "not shown", "": ""}


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
    lines = ["", *learned_text(results, options.longer), head_text(options.head)]
    lines.append(prediction_text(options.predictions, options.truth))
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
        ceiling = _number(None if row.share is None else row.ceiling)
        facts = f"{plain_name(row.task):<20}{row.n_films:>6}{floors}{ceiling:>9}"
        lines.append(f"{facts if row.task != previous else ' ' * len(facts)}   {_score(results, row)}")
        previous = row.task
    names = list(dict.fromkeys(row.encoder for row in rows))
    lines += [_sentence(name, [row for row in rows if row.encoder == name]) for name in names]
    if longer and any(row.above_floors != "yes" for row in rows):
        lines.append(f"More films and longer training may show more: {longer}")
    return lines


def head_text(run: Path) -> str:
    """Describe the AUROC of each label of a finetuned head on test films.

    Args:
        run: run folder of a classification or detection.

    Raises:
        EvaluationError: the run has no AUROC of test films.
    """
    try:
        table = pq.read_table(run / "evaluation" / "results.parquet").to_pylist()
    except FileNotFoundError:
        raise EvaluationError(f"{run} has no evaluation. Finish it with the same mae-rad finetune") from None
    rows = [row for row in table if row["split"] == "test" and row["subset"] == "all" and row["metric"] in FILM_METRICS]
    if not rows:
        raise EvaluationError(f"{run} has no AUROC of test films. Give a classification or detection with a test split")
    figures = (f"{plain_name(row['label'])} {_interval(row['value'], row['low'], row['high'])}" for row in rows)
    return f"Finetuned with labels, AUROC on test films: {', '.join(figures)}"


def prediction_text(predictions: Path, truth: Path) -> str:
    """Describe how predictions agree with the truth: a finding counts as present from a probability of one half.

    Args:
        predictions: folder of `mae-rad predict`.
        truth: folder `truth` of the synthetic archive with the predicted films.
    """
    counts = [
        f"{plain_name(label)} {right} of {films}" for label, (right, films) in agreement(predictions, truth).items()
    ]
    return f"Predictions of new films that are right: {', '.join(counts)}"


def agreement(predictions: Path, truth: Path) -> dict[str, tuple[int, int]]:
    """Compare predictions with the truth, see :func:`prediction_text`.

    Returns:
        Label → number of films that are predicted right, and of films with a prediction and a known truth.

    Raises:
        EvaluationError: no predicted film is in the truth.
    """
    known = _true_values(truth)
    pairs: dict[str, list[bool]] = {}
    for row in _rows(predictions / "predictions.csv"):
        values = next((values for path, values in known.items() if row["path"].endswith(path)), {})
        for label, value in values.items():
            if row.get(label):
                pairs.setdefault(label, []).append((float(row[label]) >= PRESENT) == (value == "present"))
    if not pairs:
        raise EvaluationError(
            f"{truth} is not the truth of the films in {predictions}. Give the folder of their archive"
        )
    return {label: (sum(right), len(right)) for label, right in pairs.items()}


def places_text(comparison: Path, head: Path, predictions: Path) -> list[str]:
    """List where the results are, and what to type next.

    Args:
        comparison: folder of a comparison, beside the compared runs.
        head: run folder of a finetuning.
        predictions: folder of `mae-rad predict`.
    """
    runs = comparison.parent
    samples = [str(path) for path in sorted(runs.glob("*/samples"))]
    encoder = next((path.parent for path in sorted(runs.glob("*/encoder")) if path.parent != head), runs)
    return [
        "WHERE TO LOOK",
        f"  report       {comparison / PAGE}",
        f"  pictures     {'   '.join([*samples, str(head / 'evaluation'), str(predictions / 'overlays')])}",
        f"  MLflow       {open_command(default_uri(runs))}",
        f"               menu Views of the experiment: {comparison.name}: all tasks",
        "WHAT TO TYPE NEXT, for your own films (README, The three commands)",
        "  mae-rad scan YOUR_ARCHIVE --out PRIVATE && mae-rad shard PRIVATE --out PUBLIC",
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


def _true_values(truth: Path) -> Mapping[str, Mapping[str, str]]:
    """Path of each film of a synthetic archive → label → present or absent."""
    of_film: dict[str, dict[str, str]] = {}
    for row in _rows(truth / "labels.csv"):
        of_film.setdefault(row["sop_instance_uid"], {})[row["label"]] = row["value"]
    lines = map(json.loads, (truth / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["path"]: of_film.get(line["sop_instance_uid"], {}) for line in lines if line["kind"] == "film"}
