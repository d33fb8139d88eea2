"""Log a comparison to MLflow: a parent run, and a child run per encoder, task, subset, T and pooling.

All child runs have the same params and few metrics, and the experiment has prepared views, so that MLflow's pages need
no configuration: the table of runs, the charts, the compare page and its parallel coordinates.

metrics of a child run, per probe (linear, knn, …)
  linear/score           the metric named by the param ``score``; its step is the number of training films, so its chart
                         is the curve of label efficiency and its last value that of all labels
  linear/score_low …     95 % interval over test patients
  linear/gain            score minus that of the random baseline, and its interval
  linear/floor, linear/ceiling, linear/share   floor and ceiling of the score, and (score - floor) / (ceiling - floor)
  linear/score_at_1_percent   the score with 1 % of the labels, for the parallel coordinates
  linear/<metric>        every other metric
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.folder_url import folder_name
from mae_rad.embedding.mlflow_encoder import LOADER, USAGE
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.figures.map_page import MAP_PAGE
from mae_rad.evaluation.figures.style import encoder_styles
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.external_encoders import external_comparisons
from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.report.learned import learned_sentences
from mae_rad.evaluation.report.report_page import PICTURES
from mae_rad.evaluation.results.display_names import probe_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row, is_headline
from mae_rad.export.encoder_card import model_card
from mae_rad.export.encoder_folder import read_card
from mae_rad.tracking import (
    COLOUR_TAG,
    Bars,
    ChildRun,
    DataUsed,
    Lines,
    ModelInterface,
    Parallel,
    RegisteredModel,
    SavedView,
    Tracker,
    address,
)

CONFUSIONS = "confusion.parquet"
TABLES = ("report.html", MAP_PAGE, "comparison.parquet", "comparison.csv", "comparison.txt", "facts.json", CONFUSIONS)
_LEARNED_POOL = "attentive"
"""Pool of the attentive probe, which learns its pooling: logged with the encoder's first pooling."""
_METRIC_DIGITS = 4
"""Decimal digits of logged metrics: MLflow's tables show all digits; comparison.parquet has full precision."""

RunKey = tuple[str, str, str, int, str]
"""Encoder, task, subset, T and pooling of a child run."""


def log_comparison(
    results: ComparisonResults,
    facts: Facts,
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    tracker: Tracker,
) -> str:
    """Log the comparison in ``settings.out``, its child runs and, in the model registry, its encoders.

    Args:
        results: rows of the comparison.
        facts: facts of the comparison.
        candidates: compared encoders.
        settings: settings of the comparison.
        tracker: parent run.

    Returns:
        Address of its first saved view, relative to that of the server.
    """
    counts = facts.splits.items()
    films = {f"{split}_{kind}": getattr(count, kind) for split, count in counts for kind in ("films", "patients")}
    data = [
        DataUsed("+".join(folder_name(folder) for folder in settings.shards), facts.dataset_sha256, "evaluation", films)
    ]
    views = saved_views(results, settings.out.resolve().name, tracker.run_id)
    addresses = {view.name: address(tracker.experiment, view, charts=True) for view in views}
    tags = parent_tags(facts, results, addresses)
    tracker.describe(tags)
    tracker.inputs(data)
    tracker.views(views)
    for path in (settings.out / name for name in TABLES):
        if path.exists():  # a comparison of few films has no map, one of two classes no confusion
            tracker.file(path, "")
    for picture in sorted((settings.out / PICTURES).glob("*.png")):
        tracker.picture(picture, PICTURES)
    for candidate in candidates:
        if candidate.folder is not None:
            tracker.register(_registered(candidate, candidate.folder))
    shared = {key: tags[key] for key in ("stage", "dataset_sha256", "config_sha256", "version")}
    weights = {candidate.name: candidate.encoder_sha256 for candidate in candidates}
    about = {encoder.name: encoder.about for encoder in facts.encoders}
    tracker.children(child_runs(results, shared, weights, about), data)
    return next(iter(addresses.values()), "")


def _registered(candidate: Candidate, folder: Path) -> RegisteredModel:
    card = read_card(folder)
    trained_in = folder.parent / "mlflow_run"
    return RegisteredModel(
        name=candidate.name,
        kind="encoder",
        loader=LOADER,
        folder=folder,
        card=card.model_dump(mode="json"),
        signature=ModelInterface(
            {"film": "binary", "sidecar": "string"}, card.vector_width, {"tokens": card.preprocessing.tokens}
        ),
        weights_sha256=card.weights_sha256,
        training_run=trained_in.read_text(encoding="utf-8").strip() if trained_in.is_file() else None,
        description=model_card(card, USAGE.format(name=candidate.name, dim=card.vector_width)),
    )


def child_runs(
    results: ComparisonResults,
    tags: Mapping[str, str],
    weights: Mapping[str, str],
    about: Mapping[str, str] | None = None,
) -> list[ChildRun]:
    """Build a child run per encoder, task, subset, T and pooling.

    Args:
        results: rows of the comparison.
        tags: tags of all child runs.
        weights: encoder → checksum of its weights.
        about: encoder → its description.
    """
    first_pool: dict[str, str] = {}
    for row in results.rows:
        if row.pool != _LEARNED_POOL:
            first_pool.setdefault(row.encoder, row.pool)
    groups: dict[RunKey, list[Row]] = {}
    for row in results.rows:
        if row.reference is not None and row.reference != RANDOM_BASELINE:
            continue
        pool = first_pool.get(row.encoder, row.pool) if row.pool == _LEARNED_POOL else row.pool
        groups.setdefault((row.encoder, row.task, row.subset, row.tokens, pool), []).append(row)
    styles = encoder_styles(results.compared_encoders)
    runs = []
    for (encoder, *_), rows in groups.items():
        style = styles.get(encoder) or styles.get(results.groups.get(encoder, "")) or {"color": ""}
        encoder_tags = {
            "encoder_sha256": weights.get(encoder, ""),
            "about": (about or {}).get(encoder, ""),
            COLOUR_TAG: style["color"],
        }
        runs.append(_run(results, rows, {**tags, **{name: value for name, value in encoder_tags.items() if value}}))
    return [run for run in runs if run.metrics]


def saved_views(results: ComparisonResults, name: str, run_id: str) -> list[SavedView]:
    """Build a view of all tasks and one of each task: filter of runs, columns, charts.

    Args:
        results: rows of the comparison.
        name: name of the comparison; views of an earlier comparison of this name are replaced.
        run_id: id of the parent run.
    """
    if not results.probes:
        return []
    run_filter = f"tags.mlflow.parentRunId = '{run_id}' and tags.subset = 'all'"
    scores = [f"{probe}/score" for probe in results.probes]
    first = results.probes[0]
    probe_filter = " and ".join([run_filter, f"tags.probes LIKE '%{first}%'"])
    all_tasks = SavedView(
        f"{name}: all tasks",
        probe_filter,
        "task",
        ("encoder", "method", "arm", "task", "score", "test_patients"),
        (*scores, f"{first}/score_low", f"{first}/score_high", f"{first}/gain"),
        [Parallel(("task", "encoder"), scores)],
    )
    return [all_tasks, *(_view_of_task(results, task, name, run_filter) for task in results.tasks)]


def _view_of_task(results: ComparisonResults, task: str, name: str, run_filter: str) -> SavedView:
    probes = [probe for probe in results.probes if results.values(task, probe)]
    first = probes[0]
    scores = [f"{probe}/score" for probe in probes]
    fractions = sorted({row.label_fraction for row in results.rows if row.task == task and row.label_fraction < 1})
    fraction_scores = [_at_fraction(first, fraction) for fraction in fractions]
    lines = [
        Lines(score, f"{probe_name(probe)} over training films") for probe, score in zip(probes, scores, strict=True)
    ]
    return SavedView(
        f"{name}: {task}",
        f"{run_filter} and tags.task = '{task}'",
        scores[0],
        ("encoder", "method", "arm", "pretraining_seed", "tokens", "pool", "score", "test_films", "test_patients"),
        (scores[0], f"{first}/score_low", f"{first}/score_high", f"{first}/gain", *fraction_scores, *scores[1:]),
        [
            Parallel(("encoder",), (*fraction_scores, *scores)),
            *(lines if fraction_scores else []),
            *(Bars(score) for score in scores),
        ],
    )


def parent_tags(facts: Facts, results: ComparisonResults, views: Mapping[str, str]) -> dict[str, str]:
    """Build the tags of the parent run; MLflow shows the note at the top of its page.

    Args:
        facts: facts of the comparison.
        results: rows of the comparison.
        views: name of a prepared view → its address.
    """
    lines = [
        "### Result",
        *(f"* {verdict_sentences.sentence(results, pair)}" for pair in verdict_sentences.main_pairs(results)),
        *(f"* {text}" for text in learned_sentences(results)),
        *(f"* {text}" for external in external_comparisons(results, facts) for text in external.sentences),
    ]
    lines += [
        f"* Not matched: {mismatch.encoder} against {mismatch.reference}: {mismatch.why}."
        for mismatch in facts.mismatches
    ]
    if caution := verdict_sentences.not_measured(results):
        lines.append(f"\n**{caution}**")
    lines.append("\nAmong the artifacts, `report.html` is the report and `comparison.csv` has every number.")
    if views:
        lines.append("### Charts")
        lines += [f"* [{name}]({address})" for name, address in views.items()]
        lines.append(
            "\nThe menu Views of the runs has the same views. The step of a metric is the number of training films."
        )
    return {
        "stage": "compare",
        "dataset_sha256": facts.dataset_sha256,
        **{name: text for name, text in facts.joined.items() if name != "datasets"},
        "config_sha256": facts.config_sha256,
        "version": facts.version,
        "mlflow.note.content": "\n".join(lines),
    }


def _at_fraction(probe: str, fraction: float) -> str:
    return f"{probe}/score_at_{100 * fraction:g}_percent"


def _run(results: ComparisonResults, rows: Sequence[Row], tags: Mapping[str, str]) -> ChildRun:
    first = rows[0]
    probes = list(dict.fromkeys(row.probe for row in rows))
    params = {
        "encoder": first.encoder,
        "method": first.method,
        "arm": first.arm,
        "pretraining_seed": "all" if first.n_runs > 1 else first.pretraining_seed,
        "pretraining_runs": first.n_runs,
        "task": first.task,
        "subset": first.subset,
        "tokens": first.tokens,
        "pool": first.pool,
        "score": results.main_metric(first.task, first.probe),
        "test_films": first.n_films,
        "test_patients": first.n_patients,
    }
    encoder_tags = {name: str(params[name]) for name in ("encoder", "method", "arm", "task", "subset", "tokens")}
    encoder_tags["probes"] = ", ".join(probes)
    above_floors = {
        row.probe: row.above_floors
        for row in rows
        if row.above_floors and is_headline(row) and row.metric == results.main_metric(row.task, row.probe)
    }
    if above_floors:
        encoder_tags["above_floors"] = ", ".join(f"{probe}: {answer}" for probe, answer in above_floors.items())
    encoder_tags["label_fractions"] = ", ".join(f"{value:g}" for value in sorted({row.label_fraction for row in rows}))
    part = "" if first.subset == "all" else f", {first.subset}"
    metrics = [
        (name, round(value, _METRIC_DIGITS), step)
        for row in rows
        for name, value, step in _metrics(results, row)
        if math.isfinite(value)
    ]
    return ChildRun(f"{first.encoder} · {first.task}{part}", params, {**tags, **encoder_tags}, metrics)


def _metrics(results: ComparisonResults, row: Row) -> Iterator[tuple[str, float, int]]:
    if row.probe_seed is not None:
        return
    step = row.n_train
    main = row.metric == results.main_metric(row.task, row.probe)
    if row.reference is None:
        if not main:
            yield f"{row.probe}/{row.metric}", row.interval.value, step
            return
        yield from _with_interval(f"{row.probe}/score", row.interval, step)
        for name, value in (("floor", row.floor), ("ceiling", row.ceiling), ("share", row.share)):
            if value is not None:
                yield f"{row.probe}/{name}", value, step
        if row.label_fraction < 1:
            yield _at_fraction(row.probe, row.label_fraction), row.interval.value, step
    elif row.reference == RANDOM_BASELINE and main and row.difference is not None:
        yield from _with_interval(f"{row.probe}/gain", row.difference, step)


def _with_interval(name: str, interval: tuple[float, float, float], step: int) -> Iterator[tuple[str, float, int]]:
    for suffix, value in zip(("", "_low", "_high"), interval, strict=True):
        yield f"{name}{suffix}", value, step
