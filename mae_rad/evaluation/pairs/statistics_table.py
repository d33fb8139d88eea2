"""The table of ``pairs stats``: in long form as Parquet and CSV, and a line per strategy for the terminal."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.runtime.atomic_write import atomic_file, atomic_text
from mae_rad.evaluation.pairs.pair_statistics import QUANTILES, PairStatistics

SCHEMA = pa.schema(
    [
        ("strategy", pa.string()),
        ("statistic", pa.string()),
        ("of", pa.string()),
        ("value", pa.float64()),
        ("chance", pa.float64()),
        ("note", pa.string()),
    ]
)
"""``value`` is null where it is of fewer than ten patients or of none; ``chance`` is that of two random films."""
_HEADS = (
    "strategy", "coverage", "pull a vector", "other patients", "purity above chance", "false negatives",
    "scanner", "scanner, other patients",
)  # fmt: skip


class StatisticsRow(NamedTuple):
    """A line of the long table, with the columns of :data:`SCHEMA`."""

    strategy: str
    statistic: str
    of: str
    value: float | None
    chance: float | None
    note: str


def statistics_rows(strategy: str, found: PairStatistics | None, warnings: Sequence[str]) -> list[StatisticsRow]:
    """Bring the statistics of a strategy into long form.

    Args:
        strategy: its name.
        found: its statistics, if there are any.
        warnings: what speaks against it.
    """
    said = [StatisticsRow(strategy, "warning", "", None, None, text) for text in warnings]
    if found is None:
        return said
    rows: list[StatisticsRow] = []

    def add(statistic: str, value: float, *, of: str = "", chance: float = math.nan, note: str = "") -> None:
        rows.append(StatisticsRow(strategy, statistic, of, _known(value), _known(chance), note))

    add("coverage", found.coverage)
    add("own_partner", found.own_partner)
    for quantile, value in zip(QUANTILES, found.positives, strict=True):
        add("positives", value, of=f"quantile {quantile:g}")
    add("dropped", found.dropped)
    add("other_patients", found.other_patients)
    add("scanner", found.scanner, chance=0.5)
    add("scanner_other_patients", found.scanner_other_patients, chance=0.5)
    for name, value in found.negatives.items():
        add("negatives_same", value, of=name)
    add("films_left_out", found.films_left_out)
    for name, (value, treatment) in found.unknown.items():
        add("unknown", value, of=name, note=treatment)
    for name, one in found.labels.items():
        note = ", ".join(["experts" if one.is_of_experts else "reports", *(["circular"] if one.is_circular else [])])
        add("purity", one.purity, of=name, chance=one.chance, note=note)
        add("false_negatives", one.false_negatives, of=name, chance=one.false_negatives_by_chance, note=note)
    add("purity_above_chance", found.excess, chance=0.0)
    return rows + said


def write_statistics(rows: Sequence[StatisticsRow], folder: Path) -> None:
    """Write ``pairs.parquet`` and ``pairs.csv``, atomically.

    Args:
        rows: of all strategies.
        folder: existing folder.
    """
    with atomic_file(folder / "pairs.parquet") as file:
        pq.write_table(pa.Table.from_pylist([row._asdict() for row in rows], schema=SCHEMA), file)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    writer.writerows(rows)
    atomic_text(folder / "pairs.csv", text.getvalue())


def statistics_text(found: Mapping[str, PairStatistics], warnings: Mapping[str, Sequence[str]]) -> str:
    """Format the table for the terminal: a line per strategy, then the warnings.

    Args:
        found: strategy → statistics; a strategy that was refused is not there.
        warnings: strategy → what speaks against it.
    """
    lines = [_HEADS, *(_line(name, one) for name, one in found.items())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(_HEADS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, *(f"warning: {name}: {one}" for name, all_ in warnings.items() for one in all_)])


def _line(name: str, found: PairStatistics) -> tuple[str, ...]:
    low, middle, high = found.positives
    return (
        name, _share(found.coverage), f"{middle:.3g} ({low:.3g} to {high:.3g})", _share(found.other_patients),
        _number(found.excess), _share(found.false_negatives), _number(found.scanner),
        _number(found.scanner_other_patients),
    )  # fmt: skip


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "-"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
