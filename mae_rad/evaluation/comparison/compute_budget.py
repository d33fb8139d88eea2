"""Films and FLOPs of pretraining runs, and the arms of a comparison in which runs have equal budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.evaluation.results.rows import ARMS, Arm
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.pretraining.settings import PretrainSettings

EQUAL_QUANTITY: Mapping[Arm, str] = {"sample_matched": "films seen", "compute_matched": "arithmetic"}
"""Arm → name of the quantity that is equal for its runs."""


@dataclass(frozen=True)
class Budget:
    """Budget of one pretraining run.

    Attributes:
        films: number of films drawn in training, with repetitions.
        flops: floating-point operations of forward and backward passes; None if unknown.
    """

    films: int
    flops: float | None

    def quantity(self, arm: Arm) -> float | None:
        """Return the quantity that is equal for the runs of ``arm``; None if unknown."""
        return self.films if arm == "sample_matched" else self.flops


def read_budget(run: Path, provenance: Mapping[str, str | int | float | None]) -> Budget | None:
    """Read the budget of a run from the provenance of its encoder, or compute it from the settings of the run.

    Args:
        run: run folder.
        provenance: provenance of the encoder.

    Returns:
        The budget up to the step of the encoder; None for encoders that were not pretrained by this package, that were
        trained with labels, or that started from other weights, whose budget is unknown.
    """
    films, steps = provenance.get("films_seen"), provenance.get("steps")
    if not isinstance(films, int) or provenance.get("started_from_sha256") or provenance.get("labels"):
        return None
    flops = provenance.get("training_flops")
    if not isinstance(flops, float | int):
        settings = read_settings(run)
        flops = training_flops(settings, steps) if settings is not None and isinstance(steps, int) else None
    return Budget(films, flops)


def read_settings(run: Path) -> PretrainSettings | None:
    """Read the settings of a run folder; None if it has no settings of this release."""
    path = run / "config.yaml"
    if not path.is_file():
        return None
    try:
        return load(PretrainSettings, path)
    except SettingsError:
        return None


def infer_arms(budgets: Sequence[Budget | None], within: float) -> list[tuple[Arm, ...]]:
    """Derive the arms of runs: those in which each run is matched with the first run with a budget.

    Args:
        budgets: budget of each run, None if unknown.
        within: largest relative difference of matched budgets.

    Returns:
        The arms of each run; the first run is in every arm of another.
    """
    first = next((place for place, budget in enumerate(budgets) if budget is not None), None)
    if first is None:
        return [()] * len(budgets)
    arms = [
        () if place == first else tuple(arm for arm in ARMS if is_matched(budgets[first], budget, arm, within))
        for place, budget in enumerate(budgets)
    ]
    arms[first] = tuple(arm for arm in ARMS if any(arm in others for others in arms))
    return arms


def is_matched(left: Budget | None, right: Budget | None, arm: Arm, within: float) -> bool:
    """Return whether two budgets are known and equal, within a tolerance, in the quantity of an arm.

    Args:
        left: budget of one run, None if unknown.
        right: budget of the other run.
        arm: arm of the comparison.
        within: largest relative difference.
    """
    excess = budget_ratio(left, right, arm)
    return excess is not None and abs(excess - 1) <= within


def budget_ratio(left: Budget | None, right: Budget | None, arm: Arm) -> float | None:
    """Compute the ratio of two budgets in the quantity of an arm.

    Args:
        left: budget of one run, None if unknown.
        right: budget of the other run.
        arm: arm of the comparison.

    Returns:
        Larger / smaller quantity, at least 1; None if unknown.
    """
    values = [None if budget is None else budget.quantity(arm) for budget in (left, right)]
    if values[0] is None or values[1] is None or min(values[0], values[1]) <= 0:
        return None
    return max(values[0], values[1]) / min(values[0], values[1])
