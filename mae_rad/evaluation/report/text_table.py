"""Format a comparison as text for the terminal (headline values) and as CSV (all rows)."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.csv_text import csv_text
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.external_encoders import external_comparisons
from mae_rad.evaluation.report.facts import Facts, TaskFacts
from mae_rad.evaluation.report.learned import between_text, learned_rows, learned_sentences
from mae_rad.evaluation.results.display_names import interval_text, metric_of, probe_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row

_WIDTH = 52


def format_table(results: ComparisonResults, facts: Facts) -> str:
    """Format the encoders, the values and differences of every task, what was left out, and how to read the numbers.

    Differences are those to the random baseline and those of the main pairs; the report has all.

    Args:
        results: rows of the comparison.
        facts: facts of the comparison.
    """
    other_film_notes = {True: "; trained on other films, which may include test patients", False: ""}
    encoders = [
        f"  {encoder.name}: {encoder.about}{other_film_notes[encoder.other_films]}" for encoder in facts.encoders
    ]
    blocks = ["Encoders\n" + "\n".join(encoders)]
    blocks += [_task_block(task, results) for task in facts.tasks if task.name in results.tasks]
    if facts.not_asked:
        blocks.append("Not evaluated\n" + "\n".join(f"  {name}: {reason}" for name, reason in facts.not_asked.items()))
    sentences = [verdict_sentences.sentence(results, pair) for pair in verdict_sentences.main_pairs(results)]
    sentences += learned_sentences(results)
    sentences += [text for external in external_comparisons(results, facts) for text in external.sentences]
    sentences += [
        f"Not matched: {mismatch.encoder} against {mismatch.reference}: {mismatch.why}."
        for mismatch in facts.mismatches
    ]
    return "\n\n".join([*blocks, *sentences, _how_to_read(results, facts)])


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write all rows as CSV, which MLflow displays in the browser.

    Args:
        rows: rows of the comparison.
        path: CSV file to write.
    """
    flat = [row.flat() for row in rows]
    names = list(flat[0])
    atomic_text(path, csv_text([names, *([values[name] for name in names] for values in flat)]))


def _how_to_read(results: ComparisonResults, facts: Facts) -> str:
    interval_line = (
        f"Brackets: 95 % interval over the test patients ({facts.repetitions:,} resamples),"
        f" {verdict_sentences.spread_words(results)}.\nhigher, lower: after correction for the number of tasks."
    )
    if facts.score_on == "val":
        interval_line = f"Scored on validation films, which have the place of the test films here.\n{interval_line}"
    return f"{interval_line}\n{verdict_sentences.not_measured(results)}".rstrip()


def _task_block(task: TaskFacts, results: ComparisonResults) -> str:
    probes = [probe for probe in results.probes if results.values(task.name, probe)]
    rows = [row for probe in probes for row in _shown(results, task.name, probe)]
    first = rows[0]
    lines = [
        f"{task.name}: {metric_of(first.metric).name} of {_classes(task)}",
        f"  {first.n_films:,} test films of {first.n_patients:,} patients, {first.n_train:,} training films",
    ]
    lines += [f"  left out: {count:,} films, {reason}" for reason, count in task.left_out.items()]
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row.encoder if row.reference is None else f"{row.encoder} − {row.reference}"
        cells.setdefault(name, {}).setdefault(row.probe, _cell(row))
    width = max(len(name) for name in cells)
    lines.append(f"  {'':{width}}  " + "".join(f"{probe_name(probe):{_WIDTH}}" for probe in probes).rstrip())
    lines += [
        f"  {name:{width}}  " + "".join(f"{row.get(probe, ''):{_WIDTH}}" for probe in probes).rstrip()
        for name, row in cells.items()
    ]
    lines += [
        f"  {row.encoder}, {probe_name(probe)}: {between_text(row)}"
        for probe in probes
        for row in learned_rows(results, task.name, probe)
    ]
    return "\n".join(lines)


def _shown(results: ComparisonResults, task: str, probe: str) -> Sequence[Row]:
    pairs = verdict_sentences.main_pairs(results)
    differences = [
        row
        for row in results.differences(task, probe)
        if row.reference == RANDOM_BASELINE or (row.encoder, row.reference, row.arm) in pairs
    ]
    return [*results.values(task, probe), *differences]


def _cell(row: Row) -> str:
    if row.difference is None:
        return f" {interval_text(row.interval)}"
    return f"{interval_text(row.difference, signs=True)} {row.verdict}"


def _classes(task: TaskFacts) -> str:
    names = list(task.classes)
    if task.number:
        return task.number
    if task.binary:
        return "present against absent"
    return f"{len(names)} classes ({', '.join(names)})" if len(names) != 2 else f"{names[1]} against {names[0]}"
