"""What was learned: every score between its floor and its ceiling, as tables and as sentences."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from mae_rad.evaluation.figures.score_bar import scale_of, score_bar
from mae_rad.evaluation.figures.style import encoder_styles
from mae_rad.evaluation.results.display_names import metric_of, plain_name, probe_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import FLOORS, Row


@dataclass(frozen=True)
class LearnedScore:
    """A score of the table, and its bar."""

    row: Row
    bar: Markup
    is_first: bool
    """Whether it is the first one of its task."""


@dataclass(frozen=True)
class LearnedTable:
    """The scores of one probe with one fraction of the labels."""

    probe: str
    fraction: float
    scores: list[LearnedScore]
    floors: list[str]
    """Floors of this probe."""

    @property
    def has_ceiling(self) -> bool:
        """Whether any score has a ceiling."""
        return any(score.row.ceiling is not None for score in self.scores)


def learned_tables(results: ComparisonResults) -> list[LearnedTable]:
    """Return a table per probe and fraction of the labels, all labels first; empty without floors.

    Args:
        results: rows of the comparison.
    """
    styles = encoder_styles(results.compared_encoders)
    tables = []
    for probe in results.probes:
        for fraction in results.fractions:
            scores: list[LearnedScore] = []
            for task in results.tasks:
                rows = learned_rows(results, task, probe, fraction)
                if not rows:
                    continue
                scale = scale_of(rows)
                downwards = metric_of(rows[0].metric).lower_is_better
                for number, row in enumerate(rows):
                    bar = score_bar(row, scale, styles[row.encoder]["color"], lower_is_better=downwards)
                    scores.append(LearnedScore(row, Markup(bar), number == 0))  # the bar escapes its texts
            if scores:
                tables.append(LearnedTable(probe, fraction, scores, _floors(results, probe, fraction)))
    return tables


def learned_rows(results: ComparisonResults, task: str, probe: str, fraction: float = 1.0) -> list[Row]:
    """Return the scores of a task that have a floor, one per encoder or group of runs.

    Args:
        results: rows of the comparison.
        task: task of the scores.
        probe: probe of the scores.
        fraction: fraction of the labels.
    """
    rows = results.values(task, probe, fraction)
    return [row for row in rows if row.floor is not None and row.encoder in results.compared_encoders]


def learned_sentences(results: ComparisonResults) -> Iterator[str]:
    """Yield, per encoder, for which tasks it is above all floors, by the first probe with all and with fewest labels.

    Args:
        results: rows of the comparison.
    """
    if not results.probes:
        return
    probe = results.probes[0]
    by_fraction = {
        fraction: [row for task in results.tasks for row in learned_rows(results, task, probe, fraction)]
        for fraction in dict.fromkeys((results.fractions[0], results.fractions[-1]))
    }
    for encoder in dict.fromkeys(row.encoder for rows in by_fraction.values() for row in rows):
        parts = []
        for fraction, rows in by_fraction.items():
            own = [row for row in rows if row.encoder == encoder]
            texts = [
                f"{words} for {', '.join(plain_name(row.task) for row in own if row.above_floors == answer)}"
                for answer, words in (("yes", "above"), ("no", "not above"), ("not shown", "not shown to be above"))
                if any(row.above_floors == answer for row in own)
            ]
            if texts:
                parts.append(f"with {labels_text(fraction)} {', '.join(texts)}")
        if parts:
            names = " and ".join(_floors(results, probe, results.fractions[0]))
            yield f"{encoder} against {names} ({probe_name(probe)}): {'; '.join(parts)}."


def labels_text(fraction: float) -> str:
    """Return the text of a fraction of the labels: all labels, 10 % of the labels."""
    return "all labels" if fraction == 1 else f"{100 * fraction:g} % of the labels"


def between_text(row: Row) -> str:
    """Describe floor, ceiling and share of a score: floor 0.600 (raw pixels), ceiling 0.850 (truth), share 0.40.

    Args:
        row: score with a floor.
    """
    parts = [f"floor {row.floor:.3f} ({row.floor_encoder})"]
    if row.ceiling is not None and row.share is not None:  # without a share, it does not lie above the floor
        parts.append(f"ceiling {row.ceiling:.3f} ({row.ceiling_encoder})")
        parts.append(f"share {row.share:.2f}".replace("-", "−"))
    if row.above_floors:
        parts.append(f"above floors: {row.above_floors}")
    return ", ".join(parts)


def _floors(results: ComparisonResults, probe: str, fraction: float) -> list[str]:
    names = {row.encoder for row in results.values(None, probe, fraction)}
    return [floor for floor in FLOORS if floor in names]
