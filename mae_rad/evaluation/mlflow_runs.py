"""A comparison in MLflow: one run for all of it, below it one run per encoder, task and seed.

Every run below has the same params and few metrics, and views of the experiment are prepared, so that MLflow's pages
are of use as they stand: the table of runs, the charts, the compare page and its parallel coordinates.

metrics of a run, per probe (linear, knn, …)
  linear/score           the metric that the param ``score`` names; its step is the number of training films: its chart
                         is the curve of label efficiency, its last value that of all labels
  linear/score_low …     95 % interval over test patients
  linear/gain            score minus that of the random floor, and its interval
  linear/score_at_1_percent   the score with 1 % of the labels, as an axis of its own
  linear/<metric>        every other metric
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mae_rad.embedding.mlflow_encoder import USAGE
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.figures.style import encoder_styles
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.report.report_page import PICTURES
from mae_rad.evaluation.results.display_names import probe_name
from mae_rad.evaluation.results.queries import Reading
from mae_rad.evaluation.results.rows import FLOOR, Row
from mae_rad.export.encoder_card import model_card
from mae_rad.export.encoder_folder import read_card
from mae_rad.tracking import (
    COLOUR_TAG,
    Bars,
    ChildRun,
    DataUsed,
    Lines,
    Parallel,
    RegisteredEncoder,
    SavedView,
    Tracker,
    address,
)

TABLES = ("report.html", "comparison.parquet", "comparison.csv", "comparison.txt", "facts.json")
_LEARNED_POOL = "attentive"
"""The attentive probe pools by itself: it stands beside the other probes of the encoder's first pooling."""
_DIGITS = 4
"""MLflow's tables show all that there are; comparison.parquet has more."""

Setting = tuple[str, str, str, int, str]
"""What a run is of: encoder, task, subset, T, pooling."""


def track(
    reading: Reading, facts: Facts, candidates: Sequence[Candidate], settings: CompareSettings, tracker: Tracker
) -> None:
    """Log the comparison in ``settings.out`` to ``tracker``, its encoders to the registry, and the runs below it."""
    counts = facts.splits.items()
    films = {f"{split}_{kind}": getattr(count, kind) for split, count in counts for kind in ("films", "patients")}
    data = [
        DataUsed(
            "+".join(folder.resolve().name for folder in settings.shards), facts.dataset_sha256, "evaluation", films
        )
    ]
    views = saved_views(reading, settings.out.resolve().name, tracker.run_id)
    tags = parent_tags(facts, reading, {view.name: address(tracker.experiment, view, charts=True) for view in views})
    tracker.describe(tags)
    tracker.inputs(data)
    tracker.views(views)
    for name in TABLES:
        tracker.file(settings.out / name, "")
    for picture in sorted((settings.out / PICTURES).glob("*.png")):
        tracker.picture(picture, PICTURES)
    for candidate in candidates:
        if candidate.folder is not None:
            tracker.register(_registered(candidate, candidate.folder))
    shared = {key: tags[key] for key in ("stage", "dataset_sha256", "config_sha256", "version")}
    weights = {candidate.name: candidate.encoder_sha256 for candidate in candidates}
    tracker.children(child_runs(reading, shared, weights), data)


def _registered(candidate: Candidate, folder: Path) -> RegisteredEncoder:
    card = read_card(folder)
    trained_in = folder.parent / "mlflow_run"
    return RegisteredEncoder(
        name=candidate.name,
        folder=folder,
        card=card.model_dump(mode="json"),
        dim=card.encoder.shape.dim,
        tokens=card.preprocessing.tokens,
        weights_sha256=card.weights_sha256,
        pretraining_run=trained_in.read_text(encoding="utf-8").strip() if trained_in.is_file() else None,
        description=model_card(card, USAGE.format(name=candidate.name, dim=card.encoder.shape.dim)),
    )


def child_runs(reading: Reading, tags: Mapping[str, str], weights: Mapping[str, str]) -> list[ChildRun]:
    """A run per encoder, task, subset, T and pooling.

    Args:
        reading: the comparison.
        tags: of all runs.
        weights: encoder → checksum.
    """
    first_pool: dict[str, str] = {}
    for row in reading.rows:
        if row.pool != _LEARNED_POOL:
            first_pool.setdefault(row.encoder, row.pool)
    groups: dict[Setting, list[Row]] = {}
    for row in reading.rows:
        if row.reference is not None and row.reference != FLOOR:
            continue
        pool = first_pool.get(row.encoder, row.pool) if row.pool == _LEARNED_POOL else row.pool
        groups.setdefault((row.encoder, row.task, row.subset, row.tokens, pool), []).append(row)
    styles = encoder_styles(reading.shown)
    runs = []
    for (encoder, *_), rows in groups.items():
        style = styles.get(encoder) or styles.get(reading.groups.get(encoder, "")) or {"color": ""}
        own = {"encoder_sha256": weights.get(encoder, ""), COLOUR_TAG: style["color"]}
        runs.append(_run(reading, rows, {**tags, **{name: value for name, value in own.items() if value}}))
    return [run for run in runs if run.metrics]


def saved_views(reading: Reading, name: str, run_id: str) -> list[SavedView]:
    """A view of all questions and one of each: which runs, which columns, which charts.

    Args:
        reading: the comparison.
        name: of the comparison; its views are replaced when it is made again.
        run_id: of the run of the whole comparison.
    """
    if not reading.probes:
        return []
    below = f"tags.mlflow.parentRunId = '{run_id}' and tags.subset = 'all'"
    scores = [f"{probe}/score" for probe in reading.probes]
    first = reading.probes[0]
    labelled = " and ".join([below, f"tags.probes LIKE '%{first}%'"])
    every = SavedView(
        f"{name}: all questions",
        labelled,
        "task",
        ("encoder", "method", "arm", "task", "score", "test_patients"),
        (*scores, f"{first}/score_low", f"{first}/score_high", f"{first}/gain"),
        [Parallel(("task", "encoder"), scores)],
    )
    return [every, *(_view_of_task(reading, task, name, below) for task in reading.tasks)]


def _view_of_task(reading: Reading, task: str, name: str, below: str) -> SavedView:
    probes = [probe for probe in reading.probes if reading.values(task, probe)]
    first = probes[0]
    scores = [f"{probe}/score" for probe in probes]
    fractions = sorted({row.label_fraction for row in reading.rows if row.task == task and row.label_fraction < 1})
    few = [_at_fraction(first, fraction) for fraction in fractions]
    lines = [
        Lines(score, f"{probe_name(probe)} over training films") for probe, score in zip(probes, scores, strict=True)
    ]
    return SavedView(
        f"{name}: {task}",
        f"{below} and tags.task = '{task}'",
        scores[0],
        ("encoder", "method", "arm", "pretraining_seed", "tokens", "pool", "score", "test_films", "test_patients"),
        (scores[0], f"{first}/score_low", f"{first}/score_high", f"{first}/gain", *few, *scores[1:]),
        [Parallel(("encoder",), (*few, *scores)), *(lines if few else []), *(Bars(score) for score in scores)],
    )


def parent_tags(facts: Facts, reading: Reading, views: Mapping[str, str]) -> dict[str, str]:
    """Tags of the run of the whole comparison; MLflow shows the note at the head of its page.

    Args:
        facts: of the comparison.
        reading: its rows.
        views: name of a prepared view → its address.
    """
    lines = [
        "### Answer",
        *(f"* {verdict_sentences.sentence(reading, pair)}" for pair in verdict_sentences.main_pairs(reading)),
    ]
    lines += [f"* Not matched: {one.encoder} against {one.reference}: {one.why}." for one in facts.mismatches]
    if said := verdict_sentences.not_measured(reading):
        lines.append(f"\n**{said}**")
    lines.append("\nAmong the artifacts, `report.html` is the report and `comparison.csv` has every number.")
    if views:
        lines.append("### Charts")
        lines += [f"* [{name}]({address})" for name, address in views.items()]
        lines.append(
            "\nThe same stand in the menu Views of the runs. The step of a metric is the number of training films."
        )
    return {
        "stage": "compare",
        "dataset_sha256": facts.dataset_sha256,
        "config_sha256": facts.config_sha256,
        "version": facts.version,
        "mlflow.note.content": "\n".join(lines),
    }


def _at_fraction(probe: str, fraction: float) -> str:
    return f"{probe}/score_at_{100 * fraction:g}_percent"


def _run(reading: Reading, rows: Sequence[Row], tags: Mapping[str, str]) -> ChildRun:
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
        "score": reading.main_metric(first.task, first.probe),
        "test_films": first.n_films,
        "test_patients": first.n_patients,
    }
    own = {name: str(params[name]) for name in ("encoder", "method", "arm", "task", "subset", "tokens")}
    own["probes"] = ", ".join(probes)
    own["label_fractions"] = ", ".join(f"{value:g}" for value in sorted({row.label_fraction for row in rows}))
    part = "" if first.subset == "all" else f", {first.subset}"
    metrics = [
        (name, round(value, _DIGITS), step)
        for row in rows
        for name, value, step in _metrics(reading, row)
        if math.isfinite(value)
    ]
    return ChildRun(f"{first.encoder} · {first.task}{part}", params, {**tags, **own}, metrics)


def _metrics(reading: Reading, row: Row) -> Iterator[tuple[str, float, int]]:
    if row.probe_seed is not None:
        return
    step = row.n_train
    main = row.metric == reading.main_metric(row.task, row.probe)
    if row.reference is None:
        if not main:
            yield f"{row.probe}/{row.metric}", row.interval.value, step
            return
        yield from _with_interval(f"{row.probe}/score", row.interval, step)
        if row.label_fraction < 1:
            yield _at_fraction(row.probe, row.label_fraction), row.interval.value, step
    elif row.reference == FLOOR and main and row.difference is not None:
        yield from _with_interval(f"{row.probe}/gain", row.difference, step)


def _with_interval(name: str, interval: tuple[float, float, float], step: int) -> Iterator[tuple[str, float, int]]:
    for suffix, value in zip(("", "_low", "_high"), interval, strict=True):
        yield f"{name}{suffix}", value, step
