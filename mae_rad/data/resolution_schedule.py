"""Schedule of the resolution: T is a function of the step, so resuming needs no state."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from data_prep.settings import Settings


def _is_square(tokens: int) -> int:
    if math.isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"{tokens} is not a square number; choose one such as 196, 1024 or 4096")
    return tokens


SquareTokens = Annotated[int, AfterValidator(_is_square)]
"""T of a view that may be a square crop."""


class Stage(Settings):
    """An early stage of a run with another T."""

    until: float = Field(gt=0, lt=1)
    """Fraction of the steps of the run at which the stage ends."""
    tokens: SquareTokens = Field(ge=16)
    """T, as in the objective."""


def _in_order(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    for before, after in pairwise(stages):
        if after.until <= before.until:
            raise ValueError(f"stages must be in the order of until: {after.until:g} follows {before.until:g}")
    return stages


Schedule = Annotated[tuple[Stage, ...], AfterValidator(_in_order)]
"""Stages before the last one, which has the T of the objective."""


def tokens_at(step: int, steps: int, schedule: Sequence[Stage], tokens: int) -> int:
    """Compute T of an optimiser step.

    Args:
        step: optimiser step, counted from 0.
        steps: number of steps of the run, or of the first segment of an extended one.
        schedule: stages before the last.
        tokens: T of the last stage.
    """
    return next((stage.tokens for stage in schedule if step < round(stage.until * steps)), tokens)


def stage_lengths(steps: int, schedule: Sequence[Stage], tokens: int, added: int = 0) -> list[tuple[int, int]]:
    """List (T, number of steps) of the stages in their order, without those of 0 steps.

    Args:
        steps: number of steps of the run, or of the first segment of an extended one.
        schedule: stages before the last.
        tokens: T of the last stage.
        added: steps of later segments.
    """
    ends = [*((stage.tokens, round(stage.until * steps)) for stage in schedule), (tokens, steps + added)]
    lengths = [(size, end - begin) for (_, begin), (size, end) in pairwise([(0, 0), *ends])]
    return [(size, length) for size, length in lengths if length > 0]
