"""The table of a sweep: a line per encoder and question, with its settings, films drawn, FLOPs and score on val."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import Row
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.arms import Arm
from mae_rad.sweep.trained_encoders import TrainedEncoder, last_metrics

_LOGGED = ("loss", "films_per_second", "gradient_norm", "attention_logit_max")
"""Last logged metrics that are told beside the scores; the loss does not rank encoders."""
_RANK = "rankme"


def sweep_rows(
    arms: Sequence[Arm[PretrainSettings]], encoders: Sequence[TrainedEncoder], rows: Sequence[Row]
) -> list[dict[str, str | float | None]]:
    """Join arms and scores; baselines follow the arms with empty settings.

    Args:
        arms: all arms.
        encoders: their encoders.
        rows: rows of the comparison of these encoders.

    Returns:
        A dictionary per encoder, task and probe, with equal keys.
    """
    results = ComparisonResults(rows)
    ranks = {row.encoder: row.interval.value for row in rows if row.metric == _RANK and row.reference is None}
    of_name = {encoder.name: encoder for encoder in encoders}
    of_arm = {arm.name: arm for arm in arms}
    table: list[dict[str, str | float | None]] = []
    for row in results.values():
        encoder = of_name.get(row.encoder)
        arm = of_arm[encoder.arm] if encoder else None
        table.append(_facts(row.encoder, encoder, arm) | {"effective_rank": ranks.get(row.encoder)} | _score(row))
    return table


def _facts(name: str, encoder: TrainedEncoder | None, arm: Arm[PretrainSettings] | None) -> dict[str, Any]:
    if encoder is None or arm is None:
        return {"encoder": name, "arm": "", "settings": "", "films_drawn": None, "flops": None} | dict.fromkeys(_LOGGED)
    logged = last_metrics(encoder.folder) if encoder.is_last else {}
    own = [override for override in arm.overrides if not override.startswith("runtime.")]
    return {
        "encoder": name,
        "arm": arm.name,
        "settings": " ".join(own),
        "films_drawn": encoder.films,
        "flops": training_flops(arm.settings, max(1, encoder.films // arm.settings.optimizer.batch)),
    } | {metric: logged.get(metric) for metric in _LOGGED}


def _score(row: Row) -> dict[str, Any]:
    value, low, high = row.interval
    return {
        "task": row.task, "probe": row.probe, "pool": row.pool, "metric": row.metric,
        "value": value, "low": low, "high": high, "films": row.n_films, "training_films": row.n_train,
    }  # fmt: skip


def write_sweep(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the table as CSV, atomically.

    Args:
        table: lines of :func:`sweep_rows`; at least one.
        path: CSV file.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    atomic_text(path, text.getvalue())


def sweep_text(table: Sequence[dict[str, Any]], failed: dict[str, str]) -> str:
    """Format the table for the terminal: a line per encoder, a column per task and probe.

    Args:
        table: lines of :func:`sweep_rows`.
        failed: arm → reason why its training failed.
    """
    columns = list(dict.fromkeys((line["task"], line["probe"], line["metric"]) for line in table))
    heads = ["encoder", "films drawn", "rank", *(f"{task}, {probe}, {metric}" for task, probe, metric in columns)]
    lines = [heads]
    for name in dict.fromkeys(line["encoder"] for line in table):
        own = [line for line in table if line["encoder"] == name]
        films, rank = own[0]["films_drawn"], own[0]["effective_rank"]
        scores = {(line["task"], line["probe"], line["metric"]): line for line in own}
        lines.append(
            [name, "" if films is None else f"{films:,}", "" if rank is None else f"{rank:.0f}"]
            + [_interval(scores[column]) if column in scores else "" for column in columns]
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, *(f"{name} failed: {reason}" for name, reason in failed.items())])


def _interval(line: dict[str, Any]) -> str:
    return f"{line['value']:.3f} [{line['low']:.3f}, {line['high']:.3f}]"
