"""Run folders → comparison.parquet, comparison.txt, figures, and an MLflow run with one nested run per encoder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_rad.errors import RunError
from mae_rad.evaluation.candidates import Candidate
from mae_rad.evaluation.comparison import Stage, compare
from mae_rad.evaluation.figures import draw_forest, draw_map
from mae_rad.evaluation.report import METRIC_NAMES, PROBE_NAMES, format_table
from mae_rad.evaluation.rows import Row, headline, write_comparison
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.evaluation.stage import prepare
from mae_rad.evaluation.threads import few_threads
from mae_rad.tracking import Tracker, default_uri, open_command

_logger = logging.getLogger(__name__)


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
            skipped = [*stage.skipped, *further]
            about = [candidate.about for candidate in stage.candidates]
            shown = [row for row in rows if headline(row) and row.probe in PROBE_NAMES and _first(row, settings)]
            table = format_table(shown, stage.tasks, skipped, about=about, repetitions=settings.repetitions)
            _publish(rows, shown, table, stage, tracker)
            _track_encoders(shown, stage.candidates, uri, settings.tracking.experiment, tracker)
        except BaseException:
            tracker.finish("FAILED")
            raise
        tracker.finish()
    return f"{table}\n\nTable and figures: {settings.out}\nMLflow: {open_command(uri)}"


def _first(row: Row, settings: CompareSettings) -> bool:
    return row.tokens == settings.tokens[0] and row.pool not in settings.pools[1:]


def _publish(rows: Sequence[Row], shown: Sequence[Row], table: str, stage: Stage, tracker: Tracker) -> None:
    settings, films = stage.settings, stage.films
    write_comparison(rows, settings.out / "comparison.parquet")
    (settings.out / "comparison.txt").write_text(f"{table}\n", encoding="utf-8")
    pictures = draw_forest(shown, settings.out)
    test = np.flatnonzero(stage.usable & (films.split == "test"))
    body_parts = films.words("body_part")[test]
    if len(set(body_parts) - {""}) > 1:
        vectors = {encoder.name: encoder.vectors(*stage.first, test).array() for encoder in stage.encoders}
        pictures.append(draw_map(vectors, body_parts, "body_part, test", settings.out / "map-body_part.png"))
    for name in ("comparison.parquet", "comparison.txt"):
        tracker.file(settings.out / name, "")
    for picture in pictures:
        tracker.picture(picture, "figures")


def _track_encoders(
    rows: Sequence[Row], candidates: Sequence[Candidate], uri: str, experiment: str, tracker: Tracker
) -> None:
    """The comparison names metrics task/probe/encoder; a nested run per encoder names them task/probe/metric.

    MLflow's compare page and charts put runs side by side, so it takes a run per encoder to see them there.
    """
    alone = [row for row in rows if row.reference is None]
    shown = {f"{row.task}/{row.probe}/{row.encoder}": row.interval.value for row in alone if row.metric in METRIC_NAMES}
    tracker.metrics(shown, 0)
    for encoder in candidates:
        tags = {"stage": "compare", "encoder_sha256": encoder.encoder_sha256}
        try:
            child = Tracker.start(uri, experiment, encoder.name, parent=tracker.run_id, tags=tags)
        except RunError as error:  # the files are written: a store that has gone since costs only these runs
            _logger.warning("no MLflow runs per encoder: %s", error)
            return
        mine = [row for row in alone if row.encoder == encoder.name]
        child.metrics({f"{row.task}/{row.probe}/{row.metric}": row.interval.value for row in mine}, 0)
        child.finish()
