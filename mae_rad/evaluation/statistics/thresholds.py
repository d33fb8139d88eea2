"""Thresholds that stand where no score is: the same film must fall on the same side wherever it is scored."""

from mae_rad.evaluation.statistics.metrics import Floats

_HAIR = 1e-5
"""Of a score: more than it varies with the other films of a batch, and with the kind of its number."""


def just_below(score: float, scores: Floats) -> float:
    """A hair below ``score``, and above all of ``scores`` that are lower: as a threshold it parts them the same way.

    Args:
        score: not negative.
        scores: among which it stands, not negative.
    """
    lower = float(scores[scores < score].max(initial=0.0))
    return score - min(_HAIR * score, (score - lower) / 2)
