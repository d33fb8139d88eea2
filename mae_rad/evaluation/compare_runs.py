"""Run folders → table, figures and report in the folder ``out``, and a run in MLflow with one below it per question."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from data_prep.settings import digest
from mae_rad.data.shards import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.arms import Arms, embed_arms
from mae_rad.evaluation.bench import child_runs, parent_tags, saved_views
from mae_rad.evaluation.comparison import compare
from mae_rad.evaluation.figures.draw import draw_embeddings, draw_numbers
from mae_rad.evaluation.reading import Reading
from mae_rad.evaluation.report.facts import (
    MIN_PATIENTS,
    EncoderFacts,
    Facts,
    files_and_reasons,
    label_sources,
    skipped_facts,
    split_counts,
    task_facts,
    write_facts,
)
from mae_rad.evaluation.report.page import PAGE, PICTURES, write_page
from mae_rad.evaluation.report.text import format_table
from mae_rad.evaluation.rows import Row, write_comparison
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.evaluation.tasks import Films, Skipped, Task, build_tasks
from mae_rad.export.encoder import read_card
from mae_rad.tracking import DataUsed, RegisteredEncoder, Tracker, address, default_uri, open_command

TABLES = ("comparison.parquet", "comparison.csv", "comparison.txt", PAGE)


def compare_runs(runs: Sequence[Path], settings: CompareSettings) -> str:
    """Compare the encoders of ``runs``; what is found is written to ``settings.out`` and to MLflow.

    Returns:
        The table as text, with the places of the files.

    Raises:
        EvaluationError: no task can be asked, or runs and shards do not fit together.
    """
    if not runs:
        raise EvaluationError("no run is given; name the run folders to compare")
    if settings.out.exists() and not settings.out.is_dir():
        raise EvaluationError(f"{settings.out} is a file; give a folder as out")
    films = Films(settings.shards)
    tasks, skipped = build_tasks(
        films, settings.tasks, all_labels=settings.all_labels, min_patients=settings.min_patients
    )
    if not tasks:
        reasons = "; ".join(f"{task.name}: {task.reason}" for task in skipped)
        raise EvaluationError(f"no task can be asked of these shards ({reasons or 'none is set'})")
    arms = embed_arms(runs, settings, films.dataset_sha256)  # before anything is begun: it may refuse a run
    uri = settings.tracking.uri or default_uri(runs[0].resolve().parent)
    tracker = Tracker.start(
        uri,
        settings.tracking.experiment,
        settings.out.resolve().name,
        params=settings.model_dump(mode="json", exclude={"out", "shards", "runtime", "tracking"}),
        tags={"stage": "compare", "dataset_sha256": films.dataset_sha256},
    )
    try:
        rows = compare(arms.trained, arms.floors, tasks, settings)
        facts = _facts(films, tasks, skipped, arms, settings)
        table = _write(rows, facts, films, arms, settings)
        _track(Reading(rows), facts, runs, settings, tracker)
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish()
    return f"{table}\n\nReport: {settings.out / PAGE}\nMLflow: {open_command(uri)}"


def _facts(
    films: Films, tasks: Sequence[Task], skipped: Sequence[Skipped], arms: Arms, settings: CompareSettings
) -> Facts:
    files, reasons, twins = files_and_reasons(settings.shards)
    return Facts(
        dataset_sha256=films.dataset_sha256,
        config_sha256=digest(settings.model_copy(update={"out": Path(), "shards": []})),
        version=version("mae_rad"),
        written_on=datetime.now(UTC).date().isoformat(),
        splits=split_counts(films),
        files=files,
        reject_reasons=reasons,
        same_pixels_across_splits=twins,
        tasks=[task_facts(task, label_sources(films, task)) for task in tasks],
        not_asked=skipped_facts(skipped),
        encoders=[
            EncoderFacts(name=line.partition(": ")[0], method="", about=line.partition(": ")[2]) for line in arms.about
        ],
        repetitions=settings.repetitions,
    )


def _write(rows: Sequence[Row], facts: Facts, films: Films, arms: Arms, settings: CompareSettings) -> str:
    """Write everything into ``settings.out``; returns the table as text."""
    out, reading = settings.out, Reading(rows)
    write_comparison(rows, out / "comparison.parquet")
    _write_csv(rows, out / "comparison.csv")
    write_facts(facts, out)
    table = format_table(reading, facts)
    (out / "comparison.txt").write_text(f"{table}\n", encoding="utf-8")
    draw_numbers(reading, out / PICTURES)
    draw_embeddings(
        films,
        ShardIndex(settings.shards, split=None),
        {encoder.encoder: encoder.rows for encoder in (*arms.trained, *arms.floors)},
        out / PICTURES,
        min_patients=MIN_PATIENTS,
    )
    write_page(out)
    return table


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    """The table as MLflow shows it in the browser."""
    flat = [row.flat() for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def _track(reading: Reading, facts: Facts, runs: Sequence[Path], settings: CompareSettings, tracker: Tracker) -> None:
    test = {
        f"{split}_{kind}": getattr(count, kind)
        for split, count in facts.splits.items()
        for kind in ("films", "patients")
    }
    name = "+".join(folder.resolve().name for folder in settings.shards)
    data = [DataUsed(name, facts.dataset_sha256, "evaluation", test)]
    views = saved_views(reading, settings.out.resolve().name, tracker.run_id)
    tracker.views(views)
    tags = parent_tags(facts, reading, {view.name: address(tracker.experiment, view, charts=True) for view in views})
    tracker.describe(tags)
    tracker.inputs(data)
    for path in TABLES:
        tracker.file(settings.out / path, "")
    for picture in sorted((settings.out / PICTURES).glob("*.png")):
        tracker.picture(picture, PICTURES)
    for run in runs:
        tracker.register(_registered(run))
    shared = {key: tags[key] for key in ("stage", "dataset_sha256", "config_sha256", "version")}
    tracker.children(child_runs(reading, shared), data)


def _registered(run: Path) -> RegisteredEncoder:
    folder = run / "encoder" if (run / "encoder").is_dir() else run
    card = read_card(folder)
    trained_in = run / "mlflow_run"
    return RegisteredEncoder(
        name=run.resolve().name,
        folder=folder,
        card=card.model_dump(mode="json"),
        dim=card.encoder.shape.dim,
        tokens=card.preprocessing.tokens,
        weights_sha256=card.weights_sha256,
        pretraining_run=trained_in.read_text(encoding="utf-8").strip() if trained_in.is_file() else None,
        description=(folder / "README.md").read_text(encoding="utf-8"),
    )
