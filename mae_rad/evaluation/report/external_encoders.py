"""Compare the self-supervised encoders with those trained elsewhere: which one is better for which task."""

from collections.abc import Sequence
from dataclasses import dataclass

from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.report.learned import labels_text
from mae_rad.evaluation.results.display_names import interval_text, metric_of, plain_name, probe_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import TRAINED_ELSEWHERE, Row, is_self_supervised


@dataclass(frozen=True)
class ExternalComparison:
    """Differences of the self-supervised encoders to one that was trained elsewhere.

    Attributes:
        name: encoder that was trained elsewhere.
        about: its description.
        sentences: which one is better for which task, one per self-supervised encoder and fraction of the labels.
        encoders: self-supervised encoders.
        rows: task, probe, fraction and, in the order of ``encoders``, the differences to it, or None.
    """

    name: str
    about: str
    sentences: list[str]
    encoders: list[str]
    rows: list[tuple[str, str, float, list[Row | None]]]


def external_comparisons(results: ComparisonResults, facts: Facts) -> list[ExternalComparison]:
    """Return the comparison with every encoder that was trained elsewhere.

    Args:
        results: rows of the comparison.
        facts: facts of the comparison.
    """
    abouts = {encoder.name: encoder.about for encoder in facts.encoders}
    ours: dict[str, list[str]] = {}
    for encoder, reference, _ in results.pairs:
        if results.method(reference) in TRAINED_ELSEWHERE and is_self_supervised(results.method(encoder)):
            ours.setdefault(reference, []).append(encoder)
    out = []
    for name, all_encoders in ours.items():
        encoders = list(dict.fromkeys(all_encoders))
        rows = [
            (
                task,
                probe,
                fraction,
                [_difference(results, encoder, name, task, probe, fraction) for encoder in encoders],
            )
            for probe in results.probes
            for task in results.tasks
            for fraction in results.fractions
        ]
        rows = [row for row in rows if any(row[3])]
        sentences = [
            external_sentence(results, encoder, name, fraction)
            for encoder in encoders
            for fraction in dict.fromkeys((results.fractions[0], results.fractions[-1]))
        ]
        out.append(ExternalComparison(name, abouts.get(name, ""), sentences, encoders, rows))
    return out


def external_sentence(results: ComparisonResults, encoder: str, external: str, fraction: float = 1.0) -> str:
    """State which of two encoders is better for which task, by the first probe.

    Args:
        results: rows of the comparison.
        encoder: self-supervised encoder.
        external: encoder that was trained elsewhere.
        fraction: fraction of the labels.
    """
    probe = results.probes[0]
    found = [_difference(results, encoder, external, task, probe, fraction) for task in results.tasks]
    rows = [row for row in found if row is not None]
    parts = [
        _part(f"{encoder} is better for", [row for row in rows if better_side(row) > 0]),
        _part(f"{external} is better for", [row for row in rows if better_side(row) < 0]),
        _part("no relevant difference for", [row for row in rows if row.verdict == "no relevant difference"]),
        _part(
            "not shown which is better for",
            [row for row in rows if row.verdict in ("no difference shown", "too few patients")],
        ),
    ]
    said = "; ".join(part for part in parts if part)
    return f"{encoder} against {external}, {probe_name(probe)} with {labels_text(fraction)}: {said}."


def better_side(row: Row) -> int:
    """Return 1 if ``encoder`` of a difference is better after correction, -1 if ``reference`` is, else 0.

    Args:
        row: row with a difference and its verdict.
    """
    sign = {"higher": 1, "lower": -1}.get(row.verdict, 0)
    return -sign if metric_of(row.metric).lower_is_better else sign


def _part(words: str, rows: Sequence[Row]) -> str:
    texts = [
        f"{plain_name(row.task)} ({metric_of(row.metric).name} {interval_text(row.difference, signs=True)})"
        for row in rows
        if row.difference is not None
    ]
    return f"{words} {', '.join(texts)}" if texts else ""


def _difference(
    results: ComparisonResults, encoder: str, external: str, task: str, probe: str, fraction: float
) -> Row | None:
    rows = results.differences(task, probe, fraction)
    return next((row for row in rows if (row.encoder, row.reference) == (encoder, external)), None)
