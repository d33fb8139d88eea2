"""Run folders → table, figures and report in the folder ``out``, and a run in MLflow with one below it per question."""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.settings import digest
from mae_rad.evaluation.bench import child_runs, parent_tags, saved_views
from mae_rad.evaluation.candidates import Candidate
from mae_rad.evaluation.comparison import Stage, compare
from mae_rad.evaluation.encoded import Encoded
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
from mae_rad.evaluation.stage import prepare
from mae_rad.evaluation.tasks import Skipped
from mae_rad.evaluation.threads import few_threads
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
    with few_threads(settings.runtime.threads):
        stage = prepare(runs, settings)  # before anything is begun: it may refuse a run
        uri = settings.tracking.uri or default_uri((runs[0] if runs else settings.out).resolve().parent)
        tracker = Tracker.start(
            uri,
            settings.tracking.experiment,
            settings.out.resolve().name,
            params=settings.model_dump(mode="json", exclude={"out", "shards", "encoders", "runtime", "tracking"}),
            tags={"stage": "compare", "dataset_sha256": stage.films.dataset_sha256},
        )
        try:
            rows, further = compare(stage)
            facts = _facts(stage, [*stage.skipped, *further])
            table = _write(rows, facts, stage)
            _track(Reading(rows), facts, stage, tracker)
        except BaseException:
            tracker.finish("FAILED")
            raise
        tracker.finish()
    return f"{table}\n\nReport: {settings.out / PAGE}\nMLflow: {open_command(uri)}"


def _facts(stage: Stage, skipped: Sequence[Skipped]) -> Facts:
    settings, films = stage.settings, stage.films
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
        tasks=[task_facts(task, label_sources(films, task)) for task in stage.tasks],
        not_asked=skipped_facts(skipped),
        encoders=[
            EncoderFacts(
                name=one.name,
                method=one.method,
                about=one.described,
                other_films=one.other_films,
                pretrained_here=one.budget is not None and not one.other_films,
            )
            for one in stage.candidates
        ],
        repetitions=settings.repetitions,
    )


def _write(rows: Sequence[Row], facts: Facts, stage: Stage) -> str:
    """Write everything into ``settings.out``; returns the table as text."""
    out, reading = stage.settings.out, Reading(rows)
    write_comparison(rows, out / "comparison.parquet")
    _write_csv(rows, out / "comparison.csv")
    write_facts(facts, out)
    table = format_table(reading, facts)
    (out / "comparison.txt").write_text(f"{table}\n", encoding="utf-8")
    draw_numbers(reading, out / PICTURES)
    tokens, pool = stage.first
    draw_embeddings(
        stage.films,
        np.flatnonzero(stage.usable & (stage.films.split == "test")),
        {one.name: partial(_vectors, one, tokens, pool) for one in stage.encoders},
        out / PICTURES,
        min_patients=MIN_PATIENTS,
    )
    write_page(out)
    return table


def _vectors(encoder: Encoded, tokens: int, pool: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return encoder.vectors(tokens, pool, rows).array()


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    """The table as MLflow shows it in the browser."""
    flat = [row.flat() for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def _track(reading: Reading, facts: Facts, stage: Stage, tracker: Tracker) -> None:
    settings = stage.settings
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
    for candidate in stage.candidates:
        if candidate.folder is not None:
            tracker.register(_registered(candidate, candidate.folder))
    shared = {key: tags[key] for key in ("stage", "dataset_sha256", "config_sha256", "version")}
    tracker.children(child_runs(reading, shared), data)


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
        description=(folder / "README.md").read_text(encoding="utf-8"),
    )
