"""What a pretraining run has cost, and whether runs that are compared cost the same: the arms of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.evaluation.results.rows import ARMS, Arm
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.pretraining.settings import PretrainSettings

WORDS: Mapping[Arm, str] = {"sample_matched": "films seen", "compute_matched": "arithmetic"}
"""What an arm holds equal."""


@dataclass(frozen=True)
class Budget:
    """What one run was given.

    Attributes:
        films: seen in training, every film as often as it was.
        flops: floating-point operations, forward and backward; None where nobody can tell any more.
    """

    films: int
    flops: float | None

    def of(self, arm: Arm) -> float | None:
        """What ``arm`` holds equal."""
        return self.films if arm == "sample_matched" else self.flops


def read_budget(run: Path, provenance: Mapping[str, str | int | float | None]) -> Budget | None:
    """Of a run by what its encoder says of it, else by its settings up to the step of the encoder.

    None for what was not pretrained here, for what learned from labels, which is another effort, and for a run that
    began with other weights: what these cost is not known.
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
    """The settings of a run folder; None where it has none of this release."""
    path = run / "config.yaml"
    if not path.is_file():
        return None
    try:
        return load(PretrainSettings, path)
    except SettingsError:
        return None


def found_arms(budgets: Sequence[Budget | None], within: float) -> list[tuple[Arm, ...]]:
    """The arms of runs that declare none: those in which each is matched with the first that has a budget.

    The first is in every arm that another is in.
    """
    first = next((place for place, budget in enumerate(budgets) if budget is not None), None)
    if first is None:
        return [()] * len(budgets)
    arms = [
        () if place == first else tuple(arm for arm in ARMS if matched(budgets[first], budget, arm, within))
        for place, budget in enumerate(budgets)
    ]
    arms[first] = tuple(arm for arm in ARMS if any(arm in others for others in arms))
    return arms


def matched(one: Budget | None, other: Budget | None, arm: Arm, within: float) -> bool:
    """Whether both are known and differ by at most ``within`` in what ``arm`` holds equal."""
    excess = ratio(one, other, arm)
    return excess is not None and abs(excess - 1) <= within


def ratio(one: Budget | None, other: Budget | None, arm: Arm) -> float | None:
    """The larger over the smaller of what ``arm`` holds equal; None where it is unknown."""
    values = [None if budget is None else budget.of(arm) for budget in (one, other)]
    if values[0] is None or values[1] is None or min(values[0], values[1]) <= 0:
        return None
    return max(values[0], values[1]) / min(values[0], values[1])
