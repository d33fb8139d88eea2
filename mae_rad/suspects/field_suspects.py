"""Films of one field whose prediction contradicts what is stated, ranked and described.

Legend: S suspects.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.evaluation.statistics.metrics import Floats, macro_auroc, r_squared
from mae_rad.suspects.ranking import FAR, confident_class, expected_far, expected_wrong, robust_residual
from mae_rad.suspects.scores import FieldScores
from mae_rad.suspects.settings import SuspectsSettings
from mae_rad.suspects.stated_fields import StatedField

_PAIRS = 12
"""Most pairs of stated and predicted class that are named."""


@dataclass(frozen=True)
class FieldSuspects:
    """Suspects of one field, the most suspicious first.

    Attributes:
        field: what is stated.
        rows: [S] films, as rows of the index.
        stated: [S] in words.
        predicted: [S] in words.
        probability: [S] of the predicted class; empty for numbers.
        stated_probability: [S] of the stated class; empty for numbers.
        deviations: [S] robust standard deviations from the prediction; empty for classes.
        scored: films with a prediction.
        without: films of which something is stated, but that have no prediction.
        expected: films that are expected to be wrong, with an interval; of numbers, films that would be as far off if
            the residuals were normal.
        quality: macro AUROC of the predictions against what is stated; of numbers R².
        note: how it was predicted.
    """

    field: StatedField
    rows: NDArray[np.int64]
    stated: list[str]
    predicted: list[str]
    probability: Floats
    stated_probability: Floats
    deviations: Floats
    scored: int
    without: int
    expected: Interval
    quality: float
    note: str

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Pairs of stated and predicted class with their films, the most frequent first; none for numbers."""
        if self.field.numbers is not None:
            return []
        pairs = Counter(
            f"{stated} → {predicted}" for stated, predicted in zip(self.stated, self.predicted, strict=True)
        )
        return sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:_PAIRS]

    @property
    def quality_words(self) -> str:
        """How well the predictions agree with what is stated."""
        metric, chance = ("R²", 0) if self.field.numbers is not None else ("macro AUROC", 0.5)
        return f"the predictions agree with what is stated with {metric} {self.quality:.3f} ({chance:g} is chance)"

    def lines(self, listed: int) -> list[str]:
        """Describe what was searched and found.

        Args:
            listed: most films in the table.
        """
        name, number = self.field.name, self.field.numbers is not None
        lines = [f"{name}: {self.scored:,} films looked at ({self.note})"]
        for reason, count in sorted(self.field.left_out.items()):
            lines.append(f"  left out: {count:,} films, {reason}")
        if self.without:
            lines.append(f"  left out: {self.without:,} films without a prediction")
        if rare := self.field.rare:
            lines.append(f"  left out: rare, fewer than {MIN_PATIENTS} patients each: {', '.join(rare)}")
        lines.append(f"  {self.quality_words}; the lower it is, the more of the list is hard to tell rather than wrong")
        if number:
            lines.append(
                f"  {len(self.rows):,} films are {FAR:g} robust standard deviations and more from what their picture"
                f" predicts; of normal residuals {self.expected.value:.0f} would be"
            )
        else:
            interval = f"{self.expected.value:.0f} [{self.expected.low:.0f}, {self.expected.high:.0f}]"
            lines.append(f"  {len(self.rows):,} films are confidently of another class; expected wrong: {interval}")
            lines += [f"    {pair}: {count:,}" for pair, count in self.pairs]
        if len(self.rows) > listed:
            lines.append(f"  the first {listed:,} are listed; see listed=… for more")
        return lines


def rank_field(
    field: StatedField, scores: FieldScores, groups: NDArray[np.int64], settings: SuspectsSettings
) -> FieldSuspects:
    """Rank the films of a field whose prediction contradicts what is stated.

    Args:
        field: what is stated.
        scores: predictions.
        groups: [films] number of the group of each film of the index.
        settings: bootstrap and seed.
    """
    rows, none, ones = scores.rows, np.zeros(0), np.ones((1, len(scores.rows)))
    if field.numbers is not None:
        predicted = scores.scores[:, 0]
        away = robust_residual(field.numbers[rows], predicted)
        order = np.argsort(-np.abs(away), kind="stable")
        order = order[np.abs(away[order]) >= FAR]
        chosen, words = rows[order], [f"{number:.4g}" for number in predicted[order]]
        usual = expected_far(len(rows))
        return FieldSuspects(
            field, chosen, field.stated(chosen), words, none, none, away[order], len(rows), scores.without,
            Interval(usual, usual, usual), float(r_squared(field.numbers[rows], predicted, ones)[0]), scores.note,
        )  # fmt: skip
    y = field.y[rows]
    confident, stated_probability = confident_class(scores.scores, y), scores.scores[np.arange(len(y)), y]
    order = np.argsort(stated_probability, kind="stable")
    order = order[(confident[order] >= 0) & (confident[order] != y[order])]
    other = confident[order]
    expected = expected_wrong(scores.scores, y, groups[rows], repetitions=settings.repetitions, seed=settings.seed)
    return FieldSuspects(
        field, rows[order], field.stated(rows[order]), [field.classes[place] for place in other],
        scores.scores[order, other], stated_probability[order], none, len(rows), scores.without, expected,
        float(macro_auroc(y, scores.scores, ones)[0]), scores.note,
    )  # fmt: skip
