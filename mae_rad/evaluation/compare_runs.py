"""Run folders → table, figures and report in the folder ``out``, and a run in MLflow with one below it per question."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs, compare
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.figures.all_figures import draw_embeddings, draw_numbers
from mae_rad.evaluation.load_inputs import prepare
from mae_rad.evaluation.mlflow_runs import track
from mae_rad.evaluation.report.facts import MIN_PATIENTS, Facts, facts_of, without_rare_subsets, write_facts
from mae_rad.evaluation.report.report_page import PAGE, PICTURES, write_page
from mae_rad.evaluation.report.text_table import format_table, write_csv
from mae_rad.evaluation.results.queries import Reading
from mae_rad.evaluation.results.rows import write_comparison
from mae_rad.evaluation.threads import few_threads
from mae_rad.tracking import Tracker, default_uri, open_command


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
            compared = compare(stage)
            facts = facts_of(stage, compared.skipped)
            reading = Reading(without_rare_subsets(compared.rows), facts.groups)
            table = _write(stage, reading, facts)
            track(reading, facts, stage.candidates, settings, tracker)
        except BaseException:
            tracker.finish("FAILED")
            raise
        tracker.finish()
    return f"{table}\n\nReport: {settings.out / PAGE}\nMLflow: {open_command(uri)}"


def _write(stage: ComparisonInputs, reading: Reading, facts: Facts) -> str:
    """Write everything into ``settings.out``; returns the table as text."""
    out = stage.settings.out
    out.mkdir(parents=True, exist_ok=True)  # where vectors are kept elsewhere, nothing has made it yet
    write_comparison(reading.rows, out / "comparison.parquet")
    write_csv(reading.rows, out / "comparison.csv")
    write_facts(facts, out)
    table = format_table(reading, facts)
    atomic_text(out / "comparison.txt", f"{table}\n")
    draw_numbers(reading, out / PICTURES)
    draw_embeddings(stage, out / PICTURES, min_patients=MIN_PATIENTS)
    write_page(out)
    return table
