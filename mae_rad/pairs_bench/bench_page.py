"""The results of a benchmark of pairs as files: a table in long form, a summary, and one page."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from data_prep.pages.html_page import environment
from data_prep.runtime.atomic_write import atomic_text
from mae_rad.evaluation.figures.style import as_svg
from mae_rad.evaluation.pairs.pair_statistics import PairStatistics
from mae_rad.evaluation.results import display_names
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.pairing.settings import INSTANCE
from mae_rad.pairs_bench.bench_prediction import RankPrediction, draw_prediction
from mae_rad.pairs_bench.bench_scores import RANKED, Gain, StrategySummary

TABLE, SUMMARY, PAGE = "pairs_bench.csv", "pairs_summary.csv", "pairs.html"


@dataclass(frozen=True)
class BenchResults:
    """All that is shown of a benchmark.

    Attributes:
        gains: scores and differences to e0_instance.
        summaries: a line per strategy and setting.
        predictions: setting → how well statistics before training rank the gains.
        statistics: strategy → statistics before training.
        warnings: strategy → what speaks against it, before training.
        failed: run → why its training failed.
        said: what was equal for all, a sentence each.
    """

    gains: Sequence[Gain]
    summaries: Sequence[StrategySummary]
    predictions: Mapping[str, Sequence[RankPrediction]]
    statistics: Mapping[str, PairStatistics]
    warnings: Mapping[str, Sequence[str]]
    failed: Mapping[str, str]
    said: Sequence[str]

    @property
    def settings(self) -> list[str]:
        """Settings under which strategies are compared."""
        return list(dict.fromkeys(summary.setting for summary in self.summaries))


def write_tables(results: BenchResults, out: Path) -> None:
    """Write ``pairs_bench.csv``, which depends on the films and settings alone, and ``pairs_summary.csv``, atomically.

    Args:
        results: of the benchmark.
        out: existing folder.
    """
    heads = ["strategy", "setting", "task", "probe", "labels", "metric", "value", "low", "high", "difference",
             "difference_low", "difference_high", "p_adjusted", "verdict", "runs"]  # fmt: skip
    lines: list[Sequence[object]] = [
        [g.strategy, g.setting, g.task, g.probe, g.labels, g.metric, *g.value, *(g.difference or [None] * 3),
         g.p_adjusted, g.verdict, g.runs]
        for g in results.gains
    ]  # fmt: skip
    _write(heads, lines, out / TABLE)
    scanners = list(dict.fromkeys(name for one in results.summaries for name in one.scanner))
    gaps = list(dict.fromkeys(name for one in results.summaries for name in one.gaps))
    lines = [
        [s.strategy, s.setting, s.mean_rank, s.tasks, s.gain, *(_value(s.scanner.get(name)) for name in scanners),
         *(s.gaps.get(name) for name in gaps), s.speed]
        for s in results.summaries
    ]  # fmt: skip
    heads = ["strategy", "setting", "mean_rank", "tasks", "gain"]
    _write([*heads, *scanners, *(f"gap_{name}" for name in gaps), "relative_speed"], lines, out / SUMMARY)


def summary_text(results: BenchResults) -> str:
    """Format the summary for the terminal.

    Args:
        results: of the benchmark.
    """
    heads = ["strategy", "setting", "mean rank", "tasks", f"gain over {INSTANCE}", "higher", "lower", "relative speed"]
    lines = [heads]
    for one in ordered(results.summaries):
        verdicts = [gain.verdict for gain in _headline(results.gains, one)]
        lines.append(
            [
                one.strategy,
                one.setting,
                _number(one.mean_rank, ".2f"),
                str(one.tasks),
                _number(one.gain, "+.3f"),
                str(verdicts.count("higher")),
                str(verdicts.count("lower")),
                _number(one.speed, ".2f"),
            ]
        )
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    answers = [
        f"{f'{setting}: ' if setting else ''}does {one.statistic} before training rank the gain? {one.answer}"
        for setting, all_ in results.predictions.items()
        for one in all_
    ]
    return "\n".join([*text, "", *answers, *(f"{name} failed: {reason}" for name, reason in results.failed.items())])


def ordered(summaries: Sequence[StrategySummary]) -> list[StrategySummary]:
    """By setting and mean rank, the best first; strategies without a rank are last.

    Args:
        summaries: of strategies.
    """
    settings = list(dict.fromkeys(one.setting for one in summaries))
    return sorted(summaries, key=lambda one: (settings.index(one.setting), one.mean_rank is None, one.mean_rank or 0))


def write_bench_page(results: BenchResults, out: Path) -> Path:
    """Write ``pairs.html``, one self-contained page; returns its path.

    Args:
        results: of the benchmark.
        out: existing folder.
    """
    pages = environment("mae_rad.pairs_bench")
    pages.filters |= {
        "interval": display_names.interval_text,
        "difference": lambda interval: display_names.interval_text(interval, signs=True),
        "task": display_names.plain_name,
        "number": _number,
        "share": lambda value: _number(_known(value), ".1%").replace("%", " %"),
        "known": _known,
    }
    drawings = {
        (setting, one.statistic): Markup(as_svg(draw_prediction(one), f"Gain against {one.statistic}"))
        for setting, all_ in results.predictions.items()
        for one in all_[:2]
        if one.points
    }
    text = pages.get_template("pairs.html").render(
        results=results,
        summaries=ordered(results.summaries),
        headline=lambda summary: _headline(results.gains, summary),
        tasks=lambda setting: _tasks(results.gains, setting),
        others=[gain for gain in results.gains if not (gain.probe == RANKED and gain.labels == 1)],
        probe_name=display_names.probe_name,
        metric_of=display_names.metric_of,
        drawings=drawings,
        instance=INSTANCE,
    )
    path = out / PAGE
    atomic_text(path, text)
    return path


def _headline(gains: Sequence[Gain], summary: StrategySummary) -> list[Gain]:
    own = (summary.strategy, summary.setting, RANKED, 1)
    return [gain for gain in gains if (gain.strategy, gain.setting, gain.probe, gain.labels) == own]


def _tasks(gains: Sequence[Gain], setting: str) -> list[str]:
    return list(dict.fromkeys(gain.task for gain in gains if gain.setting == setting))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(interval: Interval | None) -> float | None:
    return interval.value if interval else None


def _number(value: float | None, pattern: str) -> str:
    return "" if value is None else format(value, pattern)


def _write(heads: Sequence[str], lines: Sequence[Sequence[object]], path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(lines)
    atomic_text(path, text.getvalue())
