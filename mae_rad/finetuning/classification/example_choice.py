"""Chooses the example films of a classification: of each outcome those with the scores farthest from the threshold."""

import numpy as np

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.finetuning.results.film_sheet import FILMS_PER_OUTCOME, Example, film_captions
from mae_rad.finetuning.results.metrics_table import LabelScores


def choose_examples(
    scores: LabelScores, probability: Floats, threshold: float, index: ShardIndex
) -> dict[str, list[Example]]:
    """Choose films of each outcome, those with the scores farthest from the threshold.

    Args:
        scores: of one label.
        probability: [N] calibrated.
        threshold: of a positive film.
        index: of all films.

    Returns:
        Outcome with its number of films (found, missed, false alarm, correctly negative) → examples.
    """
    positive, captions = probability >= threshold, film_captions(index)
    outcomes = {
        "found": scores.present & positive,
        "missed": scores.present & ~positive,
        "false alarm": ~scores.present & positive,
        "correctly negative": ~scores.present & ~positive,
    }
    examples_by_outcome: dict[str, list[Example]] = {}
    for name, mask in outcomes.items():
        positions = np.flatnonzero(mask)
        most_certain = positions[np.argsort(-np.abs(probability[positions] - threshold), kind="stable")][
            :FILMS_PER_OUTCOME
        ]
        films = [
            Example(
                int(scores.rows[position]), f"{captions[scores.rows[position]]} {probability[position]:.2f}".strip()
            )
            for position in most_certain
        ]
        examples_by_outcome[f"{name}: {len(positions)} of {len(positive)} films"] = films
    return examples_by_outcome
