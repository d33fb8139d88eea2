"""Write ``report.html``, a self-contained page about one finetuning for readers who do not train networks.

Its input is the folder of a finished run: card of the predictor, ``results.parquet``, ``metrics.jsonl`` and the
pictures of the final evaluation. Films are on it as on the sheets that every finetuning draws: public ones, without
keys, and with body part and view only where enough patients share them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from markupsafe import Markup

from data_prep.bounded_reading import MAX_CARD_BYTES, read_bounded
from data_prep.pages.html_page import environment, picture_element
from data_prep.runtime.atomic_write import atomic_text
from mae_rad.export.encoder_folder import read_settings
from mae_rad.export.predictor_card import PredictorCard
from mae_rad.finetuning.report.metric_words import glossary, metric_name
from mae_rad.finetuning.report.run_warnings import run_warnings
from mae_rad.finetuning.results.chance import chance_warnings
from mae_rad.finetuning.results.learning_curves import Logged, draw_learning_curves
from mae_rad.finetuning.results.metrics_table import ALL, Result
from mae_rad.training.run_folder import logged_metrics

PAGE = "report.html"
CURVES = "learning_curves.png"
_PICTURES = {
    "curves.png": (
        "ROC and precision-recall curves",
        "The area under the ROC curve is the AUROC; thin lines: guessing.",
    ),
    "froc.png": ("FROC curves", "Share of the boxes that are found, over false boxes per film."),
    "scatter.png": ("Predicted over true numbers", "On the line both are equal."),
    "reliability.png": (
        "Calibration",
        "Share of films with the finding over its probability; on the line it is right.",
    ),
    "confusion.png": ("Confusion", "Films by true and by predicted value."),
}
"""Pictures of the evaluation, in the order of the page → title and how to read it."""
_SUBGROUPS = "subgroups.png"


def write_page(run: Path) -> Path:
    """Draw the learning curves, and write ``evaluation/report.html`` of a finished run; returns its path.

    Args:
        run: run folder.

    Raises:
        WeightsError: the run is not finished, or the card of its predictor is damaged.
    """
    card = read_settings(run / "predictor" / "predictor.json", PredictorCard, "a predictor", "a finished finetuning")
    evaluation = run / "evaluation"
    logged = list(logged_metrics(run / "metrics.jsonl"))
    best_step = int(card.provenance.get("best_step") or 0)
    draw_learning_curves(logged, best_step, evaluation / CURVES)
    results = [Result(**row) for row in pq.read_table(evaluation / "results.parquet").to_pylist()]
    notes = (evaluation / "results.txt").read_text(encoding="utf-8").partition("\n\n")[2].splitlines()[1:]
    settings = yaml.safe_load(read_bounded(run / "config.yaml", MAX_CARD_BYTES))
    page = render(card, settings, results, notes, logged, _pictures(evaluation))
    path = evaluation / PAGE
    atomic_text(path, page)
    return path


def render(
    card: PredictorCard,
    settings: Mapping[str, Any],
    results: Sequence[Result],
    notes: Sequence[str],
    logged: Logged,
    pictures: Mapping[str, Markup],
) -> str:
    """Render the page.

    Args:
        card: of the predictor.
        settings: of the run, as written in ``config.yaml``.
        results: all metrics of the final evaluation.
        notes: lines about films and labels that were left out.
        logged: step and metrics of each logged line.
        pictures: file name → image element.
    """
    template = environment("mae_rad.finetuning.report")
    template.filters |= {"metric": metric_name, "point": _point_name, "figure": _figure}
    whole = [result for result in results if result.subset == ALL]
    split = "test" if any(result.split == "test" for result in whole) else "val"
    of_split = [result for result in whole if result.split == split]
    metrics = [result for result in of_split if not result.operating_point]
    at_chance = chance_warnings(results, [target.title for target in card.task.targets])
    start = settings.get("start_from")
    return template.get_template("report.html").render(
        card=card,
        settings=settings,
        start=Path(str(start)).name if start else None,
        split=split,
        at_chance=at_chance,
        warnings=run_warnings(card, results, at_chance, logged, settings),
        notes=notes,
        headline=_headline(metrics),
        metrics=metrics,
        val={(result.label, result.metric): result for result in whole if result.split == "val"},
        points=_points(card, of_split),
        films={name: card.provenance.get(f"{name}_films") or 0 for name in ("train", "val", "test")},
        patients={name: card.provenance.get(f"{name}_patients") or 0 for name in ("train", "val", "test")},
        subgroups=[result for result in results if result.subset != ALL and _is_headline(result)],
        curves=pictures.get(CURVES),
        drawings=[(*text, pictures[name]) for name, text in _PICTURES.items() if name in pictures],
        subgroup_drawing=pictures.get(_SUBGROUPS),
        sheets=[picture for name, picture in pictures.items() if name.startswith("films-")],
        glossary=glossary(results),
    )


def _headline(metrics: Sequence[Result]) -> list[Result]:
    """The first metric of every answer."""
    first: dict[str, Result] = {}
    for result in metrics:
        if _is_headline(result):
            first.setdefault(result.label, result)
    return list(first.values())


def _is_headline(result: Result) -> bool:
    return result.metric in ("auroc", "balanced_accuracy", "r2", "froc") and not result.operating_point


def _points(card: PredictorCard, results: Sequence[Result]) -> list[tuple[str, str, float, dict[str, Result]]]:
    """(answer, operating point, threshold, metric → result) of every threshold."""
    return [
        (
            label,
            point,
            threshold,
            {r.metric: r for r in results if (r.label, r.operating_point) == (label, point)},
        )
        for point, thresholds in card.operating_points.items()
        for label, threshold in thresholds.items()
    ]


def _pictures(folder: Path) -> dict[str, Markup]:
    """File name → image element."""
    return {
        path.name: picture_element(path.read_bytes(), path.stem.replace("-", " ").replace("_", " "))
        for path in sorted(folder.glob("*.png"))
    }


def _point_name(point: str) -> str:
    sensitivity = point.removeprefix("sensitivity_")
    return f"{sensitivity} % sensitivity on val" if sensitivity != point else f"{point} on val"


def _figure(result: Result | None) -> str:
    return result.figure.replace("-", "−") if result else ""
