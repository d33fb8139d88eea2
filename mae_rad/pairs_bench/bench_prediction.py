"""Whether the statistics of pairs before training rank what strategies gain after it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from data_prep.pages.plot_style import GREY, colour_of, style_axes
from mae_rad.evaluation.pairs.pair_statistics import PairStatistics
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.pairing.settings import INSTANCE
from mae_rad.pairs_bench.bench_scores import RANKED, Gain

FEWEST = 5
"""With fewer strategies no rank correlation is computed."""
_REPETITIONS = 2000
_LEVEL = (2.5, 97.5)


class Point(NamedTuple):
    """A strategy: a statistic before training, and the mean gain over e0_instance after it."""

    strategy: str
    before: float
    gain: float


class RankPrediction(NamedTuple):
    """How well a statistic ranks the gains.

    Attributes:
        statistic: its name.
        expected: sign of the correlation that was expected before any run: 1, or -1.
        points: strategies of which both are known; circular rows take no part.
        correlation: Spearman's, with its 95 % interval over resampled strategies; None with fewer than FEWEST.
    """

    statistic: str
    expected: int
    points: list[Point]
    correlation: Interval | None

    @property
    def answer(self) -> str:
        """What the correlation says, in words."""
        if self.correlation is None:
            return f"not known: {len(self.points)} strategies, and at least {FEWEST} are needed"
        _, low, high = self.correlation
        if low > 0 or high < 0:
            is_expected = (self.correlation.value > 0) == (self.expected > 0)
            return "it ranks them" if is_expected else "it ranks them, the wrong way round"
        return "it does not rank them, as far as these strategies show"


STATISTICS = {"purity above chance": 1, "false negatives": -1, "scanner": -1, "coverage": 1}
"""Statistic → expected sign."""


def predictions(found: Mapping[str, PairStatistics], gains: Sequence[Gain], setting: str) -> list[RankPrediction]:
    """Correlate statistics before training with gains after it, over strategies.

    The gain of a strategy is the mean of its differences to e0_instance in the findings that it did not read, frozen
    and linear with all labels; purity and false negatives are of the same findings.

    Args:
        found: strategy → statistics.
        gains: of the benchmark.
        setting: whose gains are taken.
    """
    after = {}
    for name, one in found.items():
        own = [
            gain.difference.value
            for gain in gains
            if (gain.strategy, gain.setting, gain.probe, gain.labels) == (name, setting, RANKED, 1)
            and gain.difference is not None
            and not gain.is_circular
            and gain.task in one.labels
        ]
        if own and name != INSTANCE:
            after[name] = float(np.mean(own))
    return [_prediction(statistic, found, after) for statistic in STATISTICS]


def _prediction(statistic: str, found: Mapping[str, PairStatistics], after: Mapping[str, float]) -> RankPrediction:
    points = [Point(name, _value(found[name], statistic), gain) for name, gain in after.items()]
    points = [point for point in points if math.isfinite(point.before)]
    return RankPrediction(statistic, STATISTICS[statistic], points, rank_correlation(points))


def _value(found: PairStatistics, statistic: str) -> float:
    values = {
        "purity above chance": found.excess, "false negatives": found.false_negatives, "scanner": found.scanner,
        "coverage": found.coverage,
    }  # fmt: skip
    return values[statistic]


def rank_correlation(points: Sequence[Point]) -> Interval | None:
    """Spearman's correlation with a percentile interval over resampled strategies.

    Args:
        points: strategies.

    Returns:
        None with fewer than FEWEST strategies, or if all have the same statistic or the same gain.
    """
    before, gain = np.array([point.before for point in points]), np.array([point.gain for point in points])
    if len(points) < FEWEST or np.ptp(before) == 0 or np.ptp(gain) == 0:
        return None
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(_REPETITIONS):
        rows = generator.integers(len(points), size=len(points))
        if np.ptp(before[rows]) > 0 and np.ptp(gain[rows]) > 0:
            resampled.append(float(spearmanr(before[rows], gain[rows]).statistic))
    low, high = np.percentile(resampled, _LEVEL)
    return Interval(float(spearmanr(before, gain).statistic), float(low), float(high))


def draw_prediction(prediction: RankPrediction) -> Figure:
    """Draw the gain after training against a statistic before it, a point per strategy.

    Args:
        prediction: with at least one point.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=GREY, linewidth=1, linestyle=":")
    for point in prediction.points:
        axes.plot(point.before, point.gain, "o", color=colour_of(0), markersize=6)
        axes.annotate(point.strategy, (point.before, point.gain), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.margins(x=0.18, y=0.12)
    style_axes(axes, across=f"{prediction.statistic}, before training", down=f"mean gain over {INSTANCE}, after it")
    return figure
