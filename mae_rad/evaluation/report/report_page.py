"""``report.html``: one page that needs nothing beside itself, for readers who do not train networks.

It is made of the folder of a comparison: ``comparison.parquet``, ``facts.json`` and the pictures in ``figures``.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_prep.pages.html_page import environment
from data_prep.runtime.atomic_write import atomic_text
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.forest import pair_forest, values_forests
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.figures.style import as_svg
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.facts import MIN_PATIENTS, Facts, read_facts
from mae_rad.evaluation.report.limits import limits
from mae_rad.evaluation.results import display_names
from mae_rad.evaluation.results.queries import Reading
from mae_rad.evaluation.results.rows import FLOOR, Row, read_comparison

PAGE = "report.html"
PICTURES = "figures"
PAIRS_DRAWN = 3
"""Pairs of encoders with a figure of their own; the tables have all of them."""


@dataclass(frozen=True)
class Drawing:
    """A figure on the page: what it shows, how to read it, and the figure."""

    title: str
    note: str
    drawn: Markup


def write_page(folder: Path) -> Path:
    """Write ``report.html`` of the comparison in ``folder``.

    Raises:
        EvaluationError: its table or facts are missing or damaged.
    """
    facts = read_facts(folder)
    reading = Reading(read_comparison(folder / "comparison.parquet"), facts.groups)
    page = render(reading, facts, _pictures(folder / PICTURES))
    path = folder / PAGE
    atomic_text(path, page)
    return path


def render(reading: Reading, facts: Facts, pictures: dict[str, Markup]) -> str:
    """The page as text; ``pictures`` has images by the name of their file."""
    made = environment("mae_rad.evaluation.report")
    made.filters |= {
        "interval": display_names.interval_text,
        "difference": lambda interval: display_names.interval_text(interval, signs=True),
        "task": display_names.plain,
        "probe": display_names.probe_name,
        "method": display_names.method_name,
        "verdict": verdict_sentences.verdict_words,
        "subset": display_names.subset_name,
        "p": _p_value,
        "fraction": _fraction,
    }
    made.globals |= {"metric_of": display_names.metric_of, "min_patients": MIN_PATIENTS, "floor": FLOOR}
    return made.get_template("report.html").render(
        facts=facts,
        reading=reading,
        names=display_names,
        answers=_answers(reading),
        not_measured=verdict_sentences.not_measured(reading),
        spread=verdict_sentences.spread_words(reading),
        limits=list(limits(facts, reading)),
        pairs=_pairs(reading),
        values=[
            Drawing(f"Scores and gain over the {FLOOR}", "", _svg(figure, "Scores of all encoders with intervals"))
            for figure in values_forests(reading, reading.probes[:1])
        ],
        efficiency=_drawing(reading, label_efficiency, "What few labels are worth", "Score over training films"),
        sizes=_drawing(reading, by_size, "What size is worth", "Score over size"),
        similarity=_similarity(reading),
        maps={name: picture for name, picture in pictures.items() if name.startswith("map-")},
        neighbours={name: picture for name, picture in pictures.items() if name.startswith("neighbours-")},
        unlabelled={probe: reading.of_probe(probe) for probe in ("retrieval", "clustering", "geometry")},
        shortcuts=_shortcuts(reading),
        within=reading.shortcuts()[1],
        subsets=_subsets(reading),
        numbers=_numbers(reading),
    )


@dataclass(frozen=True)
class AnswerSection:
    """About one pair of encoders: the sentence, its numbers, and whether other probes agree."""

    pair: verdict_sentences.Pair
    sentence: str
    rows: list[Row]
    others: list[str]


def _answers(reading: Reading) -> list[AnswerSection]:
    if not reading.probes:
        return []
    first = reading.probes[0]
    return [
        AnswerSection(
            pair,
            verdict_sentences.sentence(reading, pair),
            verdict_sentences.of_pair(reading, pair, first),
            verdict_sentences.other_probes(reading, pair),
        )
        for pair in verdict_sentences.main_pairs(reading)
        if verdict_sentences.of_pair(reading, pair, first)
    ]


def _pairs(reading: Reading) -> list[tuple[verdict_sentences.Pair, list[Row], Markup | None]]:
    """Every pair, those of the answer first; beyond PAIRS_DRAWN the table alone."""
    main = [pair for pair in verdict_sentences.main_pairs(reading) if pair in reading.pairs]
    told: list[tuple[verdict_sentences.Pair, list[Row], Markup | None]] = []
    for pair in main + [pair for pair in reading.pairs if pair not in main]:
        drawn = None
        if len(told) < PAIRS_DRAWN:
            described = f"Differences of {pair[0]} and {pair[1]}; the same numbers stand in the table"
            drawn = _svg(pair_forest(reading, *pair), described)
        told.append((pair, verdict_sentences.of_pair(reading, pair), drawn))
    return told


def _drawing(reading: Reading, draw: Any, title: str, described: str) -> list[Drawing]:
    drawn = [(probe, draw(reading, probe)) for probe in reading.probes]
    return [
        Drawing(
            f"{title}: {display_names.probe_name(probe)}",
            "",
            _svg(figure, f"{described}, {display_names.probe_name(probe)}"),
        )
        for probe, figure in drawn
        if figure is not None
    ]


def _similarity(reading: Reading) -> Markup | None:
    figure = similarity_matrix([row for row in reading.of_probe("geometry") if row.metric == "linear_cka"])
    return None if figure is None else _svg(figure, "Similarity of every two encoders")


def _subsets(reading: Reading) -> list[tuple[str, str, dict[str, list[Row]]]]:
    """(task, probe, subset → values)."""
    found = [(task, probe, reading.subsets(task, probe)) for task in reading.tasks for probe in reading.probes]
    return [
        (task, probe, {display_names.subset_name(name): rows for name, rows in shown.items()})
        for task, probe, shown in found
        if shown
    ]


def _shortcuts(reading: Reading) -> dict[str, dict[str, Row]]:
    """Shortcut → encoder → how well it can be read."""
    told: dict[str, dict[str, Row]] = {}
    for row in reading.shortcuts()[0]:
        told.setdefault(row.task, {})[row.encoder] = row
    return told


def _numbers(reading: Reading) -> list[tuple[str, str, list[Row], list[Row]]]:
    """(task, probe, values, differences) of every metric, label fraction, T, pooling and part of the films."""
    told = []
    for task in reading.tasks:
        for probe in display_names.LABELLED:
            rows = [row for row in reading.rows if (row.task, row.probe) == (task, probe) and row.probe_seed is None]
            values = [row for row in rows if row.reference is None]
            if values:
                told.append((task, probe, values, [row for row in rows if row.difference is not None]))
    return told


def _pictures(folder: Path) -> dict[str, Markup]:
    """File name → picture as an element of the page."""
    return {
        path.name: Markup('<img src="data:image/png;base64,{}" alt="{}">').format(
            base64.b64encode(path.read_bytes()).decode(), path.stem.replace("-", " ").replace("_", " ")
        )
        for path in sorted(folder.glob("*.png"))
    }


def _svg(figure: Any, described: str) -> Markup:
    return Markup(as_svg(figure, described))  # drawn here; its texts are escaped by the drawing library


def _p_value(value: float | None) -> str:
    if value is None or not verdict_sentences.known(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _fraction(value: float) -> str:
    return f"{100 * value:g} %"
