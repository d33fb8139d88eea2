"""Charts as inline SVG without scripts or external files; ``Markup.format`` escapes all texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 560, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 14, 38
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


@dataclass(frozen=True)
class Histogram:
    """A histogram.

    Attributes:
        title: quantity, also for screen readers.
        unit: unit of the edges.
        edges: [bins + 1].
        counts: [bins].
        note: text below the title.
    """

    title: str
    unit: str
    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    note: str = ""

    def svg(self) -> Markup:
        """Draw the chart with labelled axes."""
        maximum = _round_up(float(self.counts.max(initial=0)))
        step = _PLOT_WIDTH / max(len(self.counts), 1)
        bars = Markup("").join(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
            ).format(
                _LEFT + number * step + 0.5,
                _TOP + _PLOT_HEIGHT * (1 - count / maximum),
                max(step - 1, 0.6),
                _PLOT_HEIGHT * count / maximum,
                f"{_number(self.edges[number])} to {_number(self.edges[number + 1])} {self.unit}: {count:,.0f}",
            )
            for number, count in enumerate(self.counts.tolist())
            if count
        )
        ticks = _ticks(float(self.edges[0]), float(self.edges[-1]))
        return _frame(
            bars, self._description(), maximum, ticks, (float(self.edges[0]), float(self.edges[-1])), self.unit
        )

    def _description(self) -> str:
        total = float(self.counts.sum())
        if not total:
            return f"{self.title}: no values"
        place = int(self.counts.argmax())
        low, high = (_number(edge) for edge in self.edges[place : place + 2].tolist())
        return f"{self.title}. The highest bar is between {low} and {high} {self.unit}."


@dataclass(frozen=True)
class Band:
    """A line with a band around it, over 0 to 100.

    Attributes:
        title: quantity, also for screen readers.
        unit: unit of the horizontal axis.
        lower: [bins] lower end of the band, percent.
        middle: [bins] line, percent.
        upper: [bins] upper end of the band, percent.
        note: text below the title.
    """

    title: str
    unit: str
    lower: NDArray[np.float64]
    middle: NDArray[np.float64]
    upper: NDArray[np.float64]
    note: str = ""

    def svg(self) -> Markup:
        """Draw the chart with labelled axes."""
        maximum = _round_up(float(self.upper.max(initial=0)))
        across = _LEFT + (np.arange(len(self.middle)) + 0.5) * _PLOT_WIDTH / len(self.middle)

        def points(values: NDArray[np.float64]) -> list[str]:
            heights = _TOP + _PLOT_HEIGHT * (1 - values / maximum)
            return [f"{x:.1f},{y:.1f}" for x, y in zip(across, heights, strict=True)]

        area = " ".join([*points(self.upper), *reversed(points(self.lower))])
        plot = Markup('<polygon class="band" points="{}"/><polyline class="line" points="{}"/>').format(
            area, " ".join(points(self.middle))
        )
        return _frame(plot, self.title, maximum, _ticks(0, 100), (0.0, 100.0), self.unit, percent=True)


def histogram(
    title: str, unit: str, values: NDArray[np.float64], *, bins: int = 40, note: str = ""
) -> Histogram | None:
    """Compute a histogram from the smallest value to the 99.5 % quantile.

    Args:
        title: quantity.
        unit: unit of the values.
        values: [n]; values that are not finite are ignored.
        bins: number of bins.
        note: text below the title.

    Returns:
        Histogram whose last bin also counts all larger values; None without values.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    ticks = _ticks(low, high if high > low else low + 1)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    low, high = np.floor(low / step) * step, np.ceil((high if high > low else low + step) / step) * step
    counts, edges = np.histogram(np.minimum(values, high), bins=bins, range=(low, high))
    return Histogram(title, unit, edges, counts.astype(np.float64), note)


def _frame(
    plot: Markup,
    description: str,
    maximum: float,
    ticks: Sequence[float],
    span: tuple[float, float],
    unit: str,
    *,
    percent: bool = False,
) -> Markup:
    low, high = span
    bottom = _TOP + _PLOT_HEIGHT
    x_labels = Markup("").join(
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            _LEFT + _PLOT_WIDTH * (tick - low) / (high - low), bottom + 15, _number(tick)
        )
        for tick in ticks
    )
    y_labels = Markup("").join(
        Markup(
            '<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text x="{text_x}" y="{text_y:.1f}" text-anchor="end">{text}</text>'
        ).format(
            left=_LEFT,
            right=_WIDTH - _RIGHT,
            y=bottom - _PLOT_HEIGHT * fraction,
            text_x=_LEFT - 6,
            text_y=bottom - _PLOT_HEIGHT * fraction + 4,
            text=_number(maximum * fraction) + (" %" if percent else ""),
        )
        for fraction in (0, 0.5, 1)
    )
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{description}">{y_labels}{plot}{x_labels}'
        '<text class="unit" x="{right}" y="{y}" text-anchor="end">{unit}</text></svg>'
    ).format(
        width=_WIDTH,
        height=_HEIGHT,
        description=description,
        y_labels=y_labels,
        plot=plot,
        x_labels=x_labels,
        right=_WIDTH - _RIGHT,
        y=_HEIGHT - 5,
        unit=unit,
    )


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers between low and high."""
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(round(number * step, 10)) for number in np.arange(first, last + 1)]


def _round_up(maximum: float) -> float:
    """Next round number above."""
    if maximum <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(maximum))
    return float(next(factor * power for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if factor * power >= maximum * 0.999))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.4g}"
