"""Write ``report.html``, a self-contained page for readers who do not train networks.

Its input is the folder of a comparison: ``comparison.parquet``, ``facts.json`` and the pictures in ``figures``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_prep.pages.html_page import environment, picture_element
from data_prep.runtime.atomic_write import atomic_text
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.forest import pair_forest, values_forests
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.figures.style import as_svg
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.class_tables import class_tables
from mae_rad.evaluation.report.external_encoders import better_side, external_comparisons
from mae_rad.evaluation.report.facts import Facts, read_facts
from mae_rad.evaluation.report.learned import labels_text, learned_sentences, learned_tables
from mae_rad.evaluation.report.limits import limits
from mae_rad.evaluation.results import display_names
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row, read_comparison

PAGE = "report.html"
PICTURES = "figures"
MAX_PAIRS_DRAWN = 3
"""Number of pairs of encoders with a figure; the tables have all pairs."""


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Attributes:
        title: what it shows.
        note: how to read it.
        drawn: image or SVG element.
    """

    title: str
    note: str
    drawn: Markup


def write_page(folder: Path) -> Path:
    """Write ``report.html`` of the comparison in ``folder``; returns its path.

    Raises:
        EvaluationError: its table or facts are missing or damaged.
    """
    facts = read_facts(folder)
    results = ComparisonResults(read_comparison(folder / "comparison.parquet"), facts.groups)
    page = render(results, facts, _pictures(folder / PICTURES))
    path = folder / PAGE
    atomic_text(path, page)
    return path


def render(results: ComparisonResults, facts: Facts, pictures: dict[str, Markup]) -> str:
    """Render the page.

    Args:
        results: rows of the comparison.
        facts: facts of the comparison.
        pictures: file name → image element.
    """
    page_environment = environment("mae_rad.evaluation.report")
    page_environment.filters |= {
        "interval": display_names.interval_text,
        "difference": lambda interval: display_names.interval_text(interval, signs=True),
        "task": display_names.plain_name,
        "probe": display_names.probe_name,
        "method": display_names.method_name,
        "verdict": verdict_sentences.verdict_words,
        "subset": display_names.subset_name,
        "p": _p_value,
        "fraction": _fraction,
        "labels": labels_text,
        "better_side": better_side,
        "share": _share,
    }
    page_environment.globals |= {
        "metric_of": display_names.metric_of,
        "min_patients": MIN_PATIENTS,
        "floor": RANDOM_BASELINE,
    }
    return page_environment.get_template("report.html").render(
        facts=facts,
        results=results,
        names=display_names,
        pair_results=_pair_results(results),
        learned=learned_tables(results),
        learned_sentences=list(learned_sentences(results)),
        externals=external_comparisons(results, facts),
        not_measured=verdict_sentences.not_measured(results),
        spread=verdict_sentences.spread_words(results),
        limits=list(limits(facts, results)),
        pairs=_pairs(results),
        values=[
            Drawing(
                f"Scores and gain over the {RANDOM_BASELINE}", "", _svg(figure, "Scores of all encoders with intervals")
            )
            for figure in values_forests(results, results.probes[:1])
        ],
        efficiency=_drawing(results, label_efficiency, "Label efficiency", "Score over training films"),
        sizes=_drawing(results, by_size, "Effect of size", "Score over size"),
        similarity=_similarity(results),
        maps={name: picture for name, picture in pictures.items() if name.startswith("map-")},
        neighbours={name: picture for name, picture in pictures.items() if name.startswith("neighbours-")},
        unlabelled={probe: results.of_probe(probe) for probe in ("retrieval", "clustering", "geometry")},
        shortcuts=_shortcuts(results),
        within=results.shortcuts()[1],
        subsets=_subsets(results),
        several_classes=class_tables(results, facts, pictures),
        numbers=_numbers(results),
    )


@dataclass(frozen=True)
class PairResult:
    """Result of one pair of encoders: sentence, rows, and verdicts of the other probes."""

    pair: verdict_sentences.Pair
    sentence: str
    rows: list[Row]
    others: list[str]


def _pair_results(results: ComparisonResults) -> list[PairResult]:
    if not results.probes:
        return []
    first = results.probes[0]
    return [
        PairResult(
            pair,
            verdict_sentences.sentence(results, pair),
            verdict_sentences.pair_differences(results, pair, first),
            verdict_sentences.other_probes(results, pair),
        )
        for pair in verdict_sentences.main_pairs(results)
        if verdict_sentences.pair_differences(results, pair, first)
    ]


def _pairs(results: ComparisonResults) -> list[tuple[verdict_sentences.Pair, list[Row], Markup | None]]:
    """Return every pair, the main pairs first; after MAX_PAIRS_DRAWN pairs without a figure."""
    main = [pair for pair in verdict_sentences.main_pairs(results) if pair in results.pairs]
    entries: list[tuple[verdict_sentences.Pair, list[Row], Markup | None]] = []
    for pair in main + [pair for pair in results.pairs if pair not in main]:
        svg = None
        if len(entries) < MAX_PAIRS_DRAWN:
            described = f"Differences of {pair[0]} and {pair[1]}; the table has the same numbers"
            svg = _svg(pair_forest(results, *pair), described)
        entries.append((pair, verdict_sentences.pair_differences(results, pair), svg))
    return entries


def _drawing(results: ComparisonResults, draw: Any, title: str, described: str) -> list[Drawing]:
    figures = [(probe, draw(results, probe)) for probe in results.probes]
    return [
        Drawing(
            f"{title}: {display_names.probe_name(probe)}",
            "",
            _svg(figure, f"{described}, {display_names.probe_name(probe)}"),
        )
        for probe, figure in figures
        if figure is not None
    ]


def _similarity(results: ComparisonResults) -> Markup | None:
    figure = similarity_matrix([row for row in results.of_probe("geometry") if row.metric == "linear_cka"])
    return None if figure is None else _svg(figure, "Similarity of every two encoders")


def _subsets(results: ComparisonResults) -> list[tuple[str, str, dict[str, list[Row]]]]:
    """Return (task, probe, subset → values)."""
    subsets_of_task = [
        (task, probe, results.subsets(task, probe)) for task in results.tasks for probe in results.probes
    ]
    return [
        (task, probe, {display_names.subset_name(name): rows for name, rows in subsets.items()})
        for task, probe, subsets in subsets_of_task
        if subsets
    ]


def _shortcuts(results: ComparisonResults) -> dict[str, dict[str, Row]]:
    """Return shortcut → encoder → score of its prediction."""
    entries: dict[str, dict[str, Row]] = {}
    for row in results.shortcuts()[0]:
        entries.setdefault(row.task, {})[row.encoder] = row
    return entries


def _numbers(results: ComparisonResults) -> list[tuple[str, str, list[Row], list[Row]]]:
    """Return (task, probe, values, differences) of every metric, label fraction, T, pooling and subset."""
    entries = []
    for task in results.tasks:
        for probe in display_names.LABELLED:
            rows = [row for row in results.rows if (row.task, row.probe) == (task, probe) and row.probe_seed is None]
            values = [row for row in rows if row.reference is None]
            if values:
                entries.append((task, probe, values, [row for row in rows if row.difference is not None]))
    return entries


def _pictures(folder: Path) -> dict[str, Markup]:
    """Return file name → image element."""
    return {
        path.name: picture_element(path.read_bytes(), path.stem.replace("-", " ").replace("_", " "))
        for path in sorted(folder.glob("*.png"))
    }


def _svg(figure: Any, described: str) -> Markup:
    return Markup(as_svg(figure, described))  # the drawing library escapes its texts


def _p_value(value: float | None) -> str:
    if value is None or not verdict_sentences.is_finite(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".replace("-", "−")


def _fraction(value: float) -> str:
    return f"{100 * value:g} %"
