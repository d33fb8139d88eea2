"""The final judgement of a classification: calibration and thresholds from val, figures of val and test, pictures.

EVALUATION/
  results.parquet      every figure with its interval: label, split, subset, metric, operating point
  results.txt          the same of all films, to read
  predictions.parquet  logit and probability of every film of val and test
  curves.png reliability.png confusion.png subgroups.png
  films-<label>.png    films on which the head was right and wrong
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep.runtime.atomic_write import atomic_file, atomic_text
from data_prep.shard_format.label_tables import read_boxes
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.statistics.calibration import fit_line, probabilities
from mae_rad.finetuning.classification.curves import draw_confusion, draw_curves, draw_reliability, draw_subgroups
from mae_rad.finetuning.classification.example_sheet import examples, film_sheet
from mae_rad.finetuning.results.metrics_table import (
    ALL,
    About,
    LabelScores,
    Result,
    decision_results,
    score_results,
    threshold_for,
    write_parquet,
    write_results,
)
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.results.text import results_text
from mae_rad.finetuning.task.interface import Answered, Verdict
from mae_rad.finetuning.task.settings import EvaluationSettings, FinetuneSettings
from mae_rad.heads.classification import ClassificationSettings
from mae_rad.heads.interface import Line

Lines = dict[str, Line]

Points = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Judged:
    """A split after the last look: what the head made of it, and of which films a label is known for certain."""

    answered: Answered
    asked: dict[str, LabelScores]


def conclude(
    splits: Mapping[str, Judged], left_out: Sequence[str], settings: FinetuneSettings, index: ShardIndex, folder: Path
) -> Verdict:
    """Calibrate and choose thresholds on val, and write what both splits tell.

    Args:
        splits: val, and test where there is one.
        left_out: lines about films that were left out.
        settings: of the run.
        index: of all films.
        folder: where tables and pictures go.
    """
    evaluation, val = settings.evaluation, splits["val"].asked
    lines = {label: _calibrated(asked, evaluation) for label, asked in val.items()}
    points = _operating_points(val, lines, evaluation)
    results = _results(splits, lines, points, evaluation, index)
    write_results(results, folder / "results.parquet")
    atomic_text(folder / "results.txt", results_text(results, left_out))
    write_parquet(_predictions(splits, lines, index), folder / "predictions.parquet")
    last = list(splits)[-1]
    _draw(splits[last].asked, last, results, lines, points, settings, index, folder)
    return Verdict(lines, points, _measured(results), _values(results))


def _calibrated(asked: LabelScores, evaluation: EvaluationSettings) -> Line:
    if evaluation.calibration == "none" or not asked.both:
        return Line()
    return fit_line(asked.logits, asked.present, with_offset=evaluation.calibration == "platt")


def _operating_points(val: Mapping[str, LabelScores], lines: Lines, evaluation: EvaluationSettings) -> Points:
    points: Points = {}
    for wanted in evaluation.sensitivities:
        points[f"sensitivity_{100 * wanted:g}"] = {
            label: threshold_for(wanted, probabilities(asked.logits, lines[label]), asked.present)
            for label, asked in val.items()
            if asked.present.any()
        }
    return points


def _results(
    splits: Mapping[str, Judged], lines: Lines, points: Points, evaluation: EvaluationSettings, index: ShardIndex
) -> list[Result]:
    results: list[Result] = []
    for split, judged in splits.items():
        for label, asked in judged.asked.items():
            own = {name: thresholds[label] for name, thresholds in points.items() if label in thresholds}
            about = About(label, split, repetitions=evaluation.repetitions)
            results += score_results(asked, lines[label], about)
            results += decision_results(asked, lines[label], own, about)
            for name, here in subgroups(index.table.take(asked.rows), asked.patients) if split == "test" else ():
                part, about_part = asked.among(here), about._replace(subset=name)
                results += score_results(part, lines[label], about_part)
                results += decision_results(part, lines[label], own, about_part)
    return results


def _predictions(splits: Mapping[str, Judged], lines: Lines, index: ShardIndex) -> pa.Table:
    parts = []
    for split, judged in splits.items():
        logits = np.stack(judged.answered.outputs).astype(np.float64)
        keys = index.table.column("key").take(judged.answered.rows)
        for place, (label, asked) in enumerate(judged.asked.items()):
            known = dict(zip(asked.rows.tolist(), asked.present.tolist(), strict=True))
            columns = {
                "key": keys,
                "split": pa.array([split] * len(keys)),
                "label": pa.array([label] * len(keys)),
                "logit": pa.array(logits[:, place]),
                "probability": pa.array(probabilities(logits[:, place], lines[label])),
                "present": pa.array([known.get(row) for row in judged.answered.rows.tolist()], pa.bool_()),
            }
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _draw(
    films: Mapping[str, LabelScores],
    split: str,
    results: Sequence[Result],
    lines: Lines,
    points: Points,
    settings: FinetuneSettings,
    index: ShardIndex,
    folder: Path,
) -> None:
    both = {label: asked for label, asked in films.items() if asked.both}
    if both:
        words = {label: (_words(results, label, split, "auroc"), _ap(results, label, split)) for label in both}
        draw_curves(both, words, split, folder / "curves.png")
        draw_reliability(both, lines, split, folder / "reliability.png")
        draw_confusion(both, lines, points, split, folder / "confusion.png")
        draw_subgroups(
            [one for one in results if one.split == split and one.metric == "auroc"], folder / "subgroups.png"
        )
    assert isinstance(settings.task, ClassificationSettings)
    boxes = pa.concat_tables([read_boxes(shards) for shards in settings.data.shards])
    named = {one.title: one.label for one in settings.task.labels}
    for point, thresholds in list(points.items())[:1]:
        for label, threshold in thresholds.items():
            asked = films[label]
            told = probabilities(asked.logits, lines[label])
            own = boxes.filter(np.isin(boxes.column("label").to_pylist(), named[label])) if len(boxes) else boxes
            title = f"{label}, {split} films, threshold {threshold:.3f} ({point.replace('_', ' ')} % on val)"
            sheet = film_sheet(
                examples(asked, told, threshold, index),
                index,
                own,
                title=title,
                tokens=settings.tokens,
                patch=settings.backbone.patch,
            )
            with atomic_file(folder / f"films-{re.sub(r'[^a-z0-9]+', '-', label.lower())}.png") as file:
                sheet.save(file, format="PNG")


def _ap(results: Sequence[Result], label: str, split: str) -> str:
    return f"average precision {_words(results, label, split, 'average_precision')}"


def _words(results: Sequence[Result], label: str, split: str, metric: str) -> str:
    one = next(r for r in results if (r.label, r.split, r.metric, r.subset) == (label, split, metric, ALL))
    return one.figure


def _values(results: Sequence[Result]) -> dict[str, float]:
    return {
        "/".join(part for part in (one.metric, one.label, one.operating_point) if part): one.value
        for one in results
        if one.split == "test" and one.subset == ALL
    }


def _measured(results: Sequence[Result]) -> dict[str, str]:
    shown = {
        "auroc": "AUROC",
        "average_precision": "average precision",
        "calibration_error": "calibration error",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
    }
    return {
        f"{one.label}: {shown[one.metric]}{f' at {_spoken(one.operating_point)}' if one.operating_point else ''}"
        f" ({one.n_present} of {one.n_films} films present, {one.n_patients} patients)": one.figure
        for one in results
        if one.split == "test" and one.metric in shown and one.subset == ALL
    }


def _spoken(point: str) -> str:
    return f"the threshold for {point.removeprefix('sensitivity_')} % sensitivity on val"
