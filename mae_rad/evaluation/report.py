"""The comparison as text for a terminal."""

from collections.abc import Sequence

from mae_rad.evaluation.rows import Row
from mae_rad.evaluation.tasks import Skipped, Task

METRIC_NAMES = {"auroc": "AUROC", "macro_auroc": "macro AUROC"}
"""The metric that text and figures show; the others stand in comparison.parquet."""
PROBE_NAMES = {"linear": "linear probe", "knn": "nearest neighbours", "attentive": "attentive probe"}


def format_table(
    rows: Sequence[Row], tasks: Sequence[Task], skipped: Sequence[Skipped], *, about: Sequence[str], repetitions: int
) -> str:
    """The encoders, every task with its metric and differences, what was left out, and how to read the numbers."""
    blocks = [
        _task_block(task, [row for row in rows if row.task == task.name and row.metric in METRIC_NAMES])
        for task in tasks
    ]
    if skipped:
        blocks.append("Not asked\n" + "\n".join(f"  {task.name}: {task.reason}" for task in skipped))
    encoders = "Encoders\n" + "\n".join(f"  {line}" for line in about)
    return "\n\n".join([encoders, *blocks, reading(repetitions)])


def reading(repetitions: int) -> str:
    """How the numbers may be read."""
    return (
        f"Brackets: 95 % interval over the test patients ({repetitions:,} resamples), encoder and probe as they are.\n"
        "Every encoder is one pretraining run: how much a second run would differ is not measured, so these numbers\n"
        "tell these encoders apart on these films and do not rank the methods. The intervals are not corrected for\n"
        "their number."
    )


def _task_block(task: Task, rows: Sequence[Row]) -> str:
    first = rows[0]
    lines = [
        f"{task.name}: {METRIC_NAMES[first.metric]} of {_classes(task)}",
        f"  {first.n_films:,} test films of {first.n_patients:,} patients, {first.n_train:,} training films",
    ]
    lines += [f"  left out: {count:,} films, {reason}" for reason, count in task.left_out.items()]
    probes = list(dict.fromkeys(row.probe for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row.encoder if row.reference is None else f"{row.encoder} − {row.reference}"
        cells.setdefault(name, {})[row.probe] = _cell(row)
    width = max(len(name) for name in cells)
    lines.append(f"  {'':{width}}  " + "".join(f"{PROBE_NAMES[probe]:45}" for probe in probes).rstrip())
    lines += [
        f"  {name:{width}}  " + "".join(f"{row.get(probe, ''):45}" for probe in probes).rstrip()
        for name, row in cells.items()
    ]
    return "\n".join(lines)


def _cell(row: Row) -> str:
    if row.difference is None:
        return f" {row.interval.value:.3f} [{row.interval.low:.3f}, {row.interval.high:.3f}]"
    value, low, high = row.difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] {row.verdict}"


def _classes(task: Task) -> str:
    if len(task.classes) == 2:
        return f"{task.classes[1]} against {task.classes[0]}"
    return f"{len(task.classes)} classes ({', '.join(task.classes)})"
