"""Compare run folders: write table, figures and report to ``out``, and log them to MLflow."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from data_prep.runtime.atomic_write import atomic_file, atomic_text
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs, compare
from mae_rad.evaluation.comparison.confusions import Confusion, confusions_table
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.cpu_threads import limit_threads
from mae_rad.evaluation.figures.all_figures import draw_confusions, draw_embeddings, draw_numbers
from mae_rad.evaluation.figures.map_page import MAP_PAGE
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.evaluation.mlflow_runs import CONFUSIONS, log_comparison
from mae_rad.evaluation.report.facts import Facts, build_facts, hide_rare_subsets, write_facts
from mae_rad.evaluation.report.report_page import PAGE, PICTURES, write_page
from mae_rad.evaluation.report.text_table import format_table, write_csv
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import write_comparison
from mae_rad.tracking import Tracker, chosen_experiment, chosen_store, open_command


def compare_runs(runs: Sequence[Path], settings: CompareSettings) -> str:
    """Compare encoders and write the results to ``settings.out`` and to MLflow.

    Args:
        runs: run folders, in addition to ``settings.encoders``.
        settings: settings of the comparison.

    Returns:
        The table as text, with the paths of the report and of the MLflow store.

    Raises:
        EvaluationError: no task can be evaluated, or runs and shards do not fit together.
    """
    with limit_threads(settings.runtime.threads):
        inputs = prepare_inputs(runs, settings)  # before the MLflow run starts: it may refuse a run
        uri = chosen_store(settings.tracking.uri, (runs[0] if runs else settings.out).resolve().parent)
        tracker = Tracker.start(
            uri,
            chosen_experiment(settings.tracking.experiment, "compare"),
            settings.out.resolve().name,
            params=settings.model_dump(mode="json", exclude={"out", "shards", "encoders", "runtime", "tracking"}),
            tags={"stage": "compare", "dataset_sha256": inputs.films.dataset_sha256},
        )
        try:
            compared = compare(inputs)
            facts = build_facts(inputs, compared.skipped)
            results = ComparisonResults(hide_rare_subsets(compared.rows), facts.groups)
            table = _write(inputs, results, facts, compared.confusions)
            view = log_comparison(results, facts, inputs.candidates, settings, tracker)
        except BaseException:
            tracker.finish("FAILED")
            raise
        tracker.finish()
    map_line = f"Map:    {settings.out / MAP_PAGE}\n" if (settings.out / MAP_PAGE).exists() else ""
    return f"{table}\n\nReport: {settings.out / PAGE}\n{map_line}MLflow: {open_command(uri, view)}"


def _write(inputs: ComparisonInputs, results: ComparisonResults, facts: Facts, confusions: Sequence[Confusion]) -> str:
    """Write all files of the comparison to ``settings.out``; returns the table as text."""
    out = inputs.settings.out
    out.mkdir(parents=True, exist_ok=True)  # not created yet if the vectors are in another folder
    write_comparison(results.rows, out / "comparison.parquet")
    write_csv(results.rows, out / "comparison.csv")
    _write_confusions(confusions, out / CONFUSIONS)
    write_facts(facts, out)
    table = format_table(results, facts)
    atomic_text(out / "comparison.txt", f"{table}\n")
    draw_numbers(results, out / PICTURES)
    draw_confusions(confusions, out / PICTURES)
    draw_embeddings(inputs, out / PICTURES, min_patients=MIN_PATIENTS)
    write_page(out)
    return table


def _write_confusions(confusions: Sequence[Confusion], path: Path) -> None:
    """Write ``confusion.parquet``; without a task of several classes, that of an earlier comparison is deleted."""
    path.unlink(missing_ok=True)
    if confusions:
        with atomic_file(path) as file:
            pq.write_table(confusions_table(confusions), file)
