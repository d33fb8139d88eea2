"""Whether a model has seen films of this kind in training. What it has not seen is said, not guessed."""

from collections.abc import Mapping, Sequence

from mae_rad.data.shard_reader import Condition
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_card import Scope
from mae_rad.heads.classification import TargetLabelSettings

NO_LABEL = "no_label_for_such_films"
"""Reason: every label of the model is one of other films."""


def outside(scope: Scope, body_part: str | None, view: str | None) -> str | None:
    """Why a film is out of scope; None where it is within.

    A model whose training films told no body part (or view) cannot say, and takes all.
    """
    for name, word, seen in (("body_part", body_part, scope.body_parts), ("view", view, scope.views)):
        if seen and word is None:
            return f"{name}_unknown"
        if seen and word not in seen:
            return f"{name}_not_in_training"
    return None


def asked_labels(labels: Sequence[TargetLabelSettings], film: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the labels that training has asked of such films: their ``where`` holds.

    Args:
        labels: of the model.
        film: what is told of it, by index column; a column that only shards have tells nothing, and is met by none.
    """
    return tuple(
        label.title
        for label in labels
        if all(column in film and _meets(film[column], wanted) for column, wanted in label.where.items())
    )


def _meets(value: object, wanted: Condition) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def check_word(name: str, word: str | None, seen: dict[str, int]) -> None:
    """Refuse what a user says of all films if no training film was so.

    Raises:
        PredictionError: names what the model knows.
    """
    if word is not None and seen and word not in seen:
        raise PredictionError(f"{name}={word}: the model has seen no such film; it knows {', '.join(sorted(seen))}")
