"""Draw the pairs of a strategy: purity against chance, false negatives, and what the scanner tells."""

import math
from typing import Any

from matplotlib.figure import Figure

from data_prep.pages.plot_style import GREY, colour_of, style_axes
from mae_rad.evaluation.pairs.pair_statistics import PairStatistics


def draw_statistics(strategy: str, found: PairStatistics) -> Figure:
    """Draw three panels.

    Args:
        strategy: its name.
        found: its statistics.
    """
    labels = list(found.labels)
    figure = Figure(figsize=(11, max(3.0, 1.5 + 0.35 * len(labels))), layout="constrained")
    purity, false, shares = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
    names = [f"{name} *" if found.labels[name].is_circular else name for name in labels]
    for axes, title, values in (
        (purity, "what pulls and has the same state", [(one.purity, one.chance) for one in found.labels.values()]),
        (
            false,
            "what pushes and has the same state and part",
            [(one.false_negatives, one.false_negatives_by_chance) for one in found.labels.values()],
        ),
    ):
        _draw_against_chance(axes, names, values, title)
    _draw_shares(shares, found)
    handles, texts = purity.get_legend_handles_labels()
    if handles:
        figure.legend(handles, texts, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    note = (
        "   * circular: the strategy reads this finding"
        if any(one.is_circular for one in found.labels.values())
        else ""
    )
    figure.suptitle(f"{strategy}: other films pull {_percent(found.coverage)} of the vectors{note}", fontsize=11)
    return figure


def _draw_against_chance(axes: Any, names: list[str], values: list[tuple[float, float]], title: str) -> None:
    places = range(len(names))
    for place, (value, chance) in enumerate(values):
        if math.isfinite(value):
            axes.plot([chance, value], [place, place], color=GREY, linewidth=1)
        else:
            axes.annotate(
                "none, or under 10 patients", (0.02, place), va="center", fontsize=8, color=GREY,
                xycoords=("axes fraction", "data"),
            )  # fmt: skip
    known = [(place, *pair) for place, pair in enumerate(values) if math.isfinite(pair[0])]
    axes.plot([chance for _, _, chance in known], [place for place, _, _ in known], "o", color=GREY,
              markerfacecolor="white", label="two random films")  # fmt: skip
    axes.plot([value for _, value, _ in known], [place for place, _, _ in known], "o", color=colour_of(0),
              label="pairs of the strategy")  # fmt: skip
    axes.set_yticks(places, names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    style_axes(axes, across="share", title=title, grid="x")


def _draw_shares(axes: Any, found: PairStatistics) -> None:
    shares = {
        "pulls: other patient": found.other_patients,
        "pushes: same part": found.negatives["body_part"],
        "pushes: same view": found.negatives["view"],
        "pushes: same scanner": found.negatives["scanner"],
        "scanner tells (AUROC)": found.scanner,
        "… of other patients": found.scanner_other_patients,
    }
    for place, (name, value) in enumerate(shares.items()):
        colour = colour_of(1) if "scanner tells" in name or name.startswith("…") else colour_of(0)
        axes.barh(place, value if math.isfinite(value) else 0, color=colour, height=0.6)
        axes.annotate(
            f"{value:.2f}" if math.isfinite(value) else "none", (value if math.isfinite(value) else 0, place),
            xytext=(3, 0), textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(shares)), list(shares), fontsize=9)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 1.15)
    style_axes(axes, across="share, or AUROC (0.5 is chance)", title="patients, batches, scanner", grid="x")


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "too few patients'"
