"""Run folders → comparison.parquet, comparison.txt, figures, and an MLflow run with one nested run per encoder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_rad.errors import EvaluationError, RunError
from mae_rad.evaluation.arms import Arms, embed_arms
from mae_rad.evaluation.comparison import compare
from mae_rad.evaluation.figures import draw_forest, draw_map
from mae_rad.evaluation.report import METRIC_NAMES, format_table
from mae_rad.evaluation.rows import Row, write_comparison
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.evaluation.tasks import Films, build_tasks
from mae_rad.tracking import Tracker, default_uri, open_command

_logger = logging.getLogger(__name__)


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
        table = format_table(rows, tasks, skipped, about=arms.about, repetitions=settings.repetitions)
        _publish(rows, table, films, arms, settings, tracker)
        _track_encoders(rows, arms, uri, settings.tracking.experiment, tracker)
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish()
    return f"{table}\n\nTable and figures: {settings.out}\nMLflow: {open_command(uri)}"


def _publish(
    rows: Sequence[Row], table: str, films: Films, arms: Arms, settings: CompareSettings, tracker: Tracker
) -> None:
    write_comparison(rows, settings.out / "comparison.parquet")
    (settings.out / "comparison.txt").write_text(f"{table}\n", encoding="utf-8")
    pictures = draw_forest(rows, settings.out)
    test = np.flatnonzero(films.split == "test")
    body_parts = films.words("body_part")[test]
    if len(set(body_parts) - {""}) > 1:
        keys = [films.keys[row] for row in test]
        vectors = {encoder.encoder: encoder.rows(keys) for encoder in (*arms.trained, *arms.floors)}
        pictures.append(draw_map(vectors, body_parts, "body_part, test", settings.out / "map-body_part.png"))
    for name in ("comparison.parquet", "comparison.txt"):
        tracker.file(settings.out / name, "")
    for picture in pictures:
        tracker.picture(picture, "figures")


def _track_encoders(rows: Sequence[Row], arms: Arms, uri: str, experiment: str, tracker: Tracker) -> None:
    """The comparison names metrics task/probe/encoder; a nested run per encoder names them task/probe/metric.

    MLflow's compare page and charts put runs side by side, so it takes a run per encoder to see them there.
    """
    alone = [row for row in rows if row.reference is None]
    shown = {f"{row.task}/{row.probe}/{row.encoder}": row.interval.value for row in alone if row.metric in METRIC_NAMES}
    tracker.metrics(shown, 0)
    for encoder in (*arms.trained, *arms.floors):
        tags = {"stage": "compare", "encoder_sha256": encoder.encoder_sha256}
        try:
            child = Tracker.start(uri, experiment, encoder.encoder, parent=tracker.run_id, tags=tags)
        except RunError as error:  # the files are written: a store that has gone since costs only these runs
            _logger.warning("no MLflow runs per encoder: %s", error)
            return
        mine = [row for row in alone if row.encoder == encoder.encoder]
        child.metrics({f"{row.task}/{row.probe}/{row.metric}": row.interval.value for row in mine}, 0)
        child.finish()
