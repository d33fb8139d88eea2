"""Checks whether films of a body part and view were in the training of a model."""

from collections.abc import Mapping, Sequence

from mae_rad.data.shard_reader import Condition
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_card import Scope
from mae_rad.heads import MulticlassSettings, TaskSettings
from mae_rad.heads.target import TargetSettings

NO_LABEL = "no_label_for_such_films"
"""Reason: every label of the model has a ``where`` that excludes the film."""


def out_of_scope_reason(scope: Scope, body_part: str | None, view: str | None) -> str | None:
    """Why a film is out of the scope of a model.

    A model whose training films had no known body part (or view) accepts all.

    Args:
        scope: body parts and views of the training films.
        body_part: of the film; None where unknown.
        view: of the film; None where unknown.

    Returns:
        The reason, None for a film in scope.
    """
    for name, value, trained in (("body_part", body_part, scope.body_parts), ("view", view, scope.views)):
        if trained and value is None:
            return f"{name}_unknown"
        if trained and value not in trained:
            return f"{name}_not_in_training"
    return None


def scope_without_answers(scope: Scope, task: TaskSettings) -> Scope:
    """The scope that a film must be in: all but the fact that the model itself tells, whatever its header states.

    Args:
        scope: body parts and views of the training films.
        task: of the model.
    """
    told = task.target.column if isinstance(task, MulticlassSettings) else None
    return scope.model_copy(
        update={name: {} for name, column in (("body_parts", "body_part"), ("views", "view")) if column == told}
    )


def labels_for_film(labels: Sequence[TargetSettings], film: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the labels that apply to a film: those whose ``where`` it meets.

    Args:
        labels: of the model.
        film: index column → value of the film; a condition on a missing column is not met.

    Returns:
        Names, in the order of ``labels``.
    """
    return tuple(
        label.title
        for label in labels
        if all(column in film and _meets(film[column], condition) for column, condition in label.where.items())
    )


def _meets(value: object, condition: Condition) -> bool:
    return value in condition if isinstance(condition, list) else value == condition


def check_in_training(name: str, value: str | None, trained: dict[str, int]) -> None:
    """Refuse a body part or view, given by the user, that was not in training.

    Args:
        name: of the setting.
        value: of the setting.
        trained: value → number of training films; empty accepts all.

    Raises:
        PredictionError: with the values in training.
    """
    if value is not None and trained and value not in trained:
        raise PredictionError(f"{name}={value} was not in training. Use one of {', '.join(sorted(trained))}")
