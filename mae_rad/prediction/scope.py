"""Whether a model has seen films of this kind in training. What it has not seen is said, not guessed."""

from mae_rad.errors import PredictionError
from mae_rad.export.predictor_card import Scope


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


def check_word(name: str, word: str | None, seen: dict[str, int]) -> None:
    """Refuse what a user says of all films if no training film was so.

    Raises:
        PredictionError: names what the model knows.
    """
    if word is not None and seen and word not in seen:
        raise PredictionError(f"{name}={word}: the model has seen no such film; it knows {', '.join(sorted(seen))}")
