"""The trials of a sweep as a table: ``sweep.csv``, and lines for the terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.sweep.trial_study import FAILURE, SAME_AS, STEP, trial_name

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def trial_rows(trials: Sequence[FrozenTrial], metric: str) -> list[dict[str, Any]]:
    """List the trials in order.

    Args:
        trials: of the study.
        metric: name of the column of their values.

    Returns:
        A dictionary per trial, with equal keys: name, state, value and step of its weights, settings, a note. The value
        of a trial that was ended early is its last one, which is not compared.
    """
    rows = []
    for trial in trials:
        notes = trial.user_attrs.get(FAILURE) or ""
        if SAME_AS in trial.user_attrs:
            notes = f"the settings of {trial.user_attrs[SAME_AS]}, not trained again"
        step = trial.user_attrs.get(STEP, max(trial.intermediate_values, default=""))
        rows.append(
            {"trial": trial_name(trial), "state": _STATES[trial.state], metric: trial.value, "step": step}
            | trial.params
            | {"note": notes}
        )
    return rows


def write_trials(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the table as CSV, atomically.

    Args:
        rows: of :func:`trial_rows`; at least one.
        path: CSV file.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    atomic_text(path, text.getvalue())


def trials_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the table for the terminal.

    Args:
        rows: of :func:`trial_rows`; at least one.
    """
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
