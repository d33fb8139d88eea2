"""Resolution as a schedule: T is a pure function of the step, so a run resumes anywhere without a state of its own."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from data_prep.settings import Settings


def _is_square(tokens: int) -> int:
    if math.isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"{tokens} patches make no square; choose a square number such as 196, 1024 or 4096")
    return tokens


SquareTokens = Annotated[int, AfterValidator(_is_square)]
"""T of a view that may be a square crop."""


class Stage(Settings):
    """An early part of a run, at a T of its own."""

    until: float = Field(gt=0, lt=1)
    """Fraction of the steps of the run at which the stage ends."""
    tokens: SquareTokens = Field(ge=16)
    """T, as in the objective."""


def _in_order(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    for before, after in pairwise(stages):
        if after.until <= before.until:
            raise ValueError(f"a stage until {after.until:g} cannot follow one until {before.until:g}")
    return stages


Schedule = Annotated[tuple[Stage, ...], AfterValidator(_in_order)]
"""The stages before the last, which has the T of the objective."""


def tokens_at(step: int, steps: int, schedule: Sequence[Stage], tokens: int) -> int:
    """T of the optimiser step ``step`` of ``steps``, counted from 0; ``tokens`` after all of ``schedule``."""
    return next((stage.tokens for stage in schedule if step < round(stage.until * steps)), tokens)


def stage_lengths(steps: int, schedule: Sequence[Stage], tokens: int) -> list[tuple[int, int]]:
    """(T, number of steps) of all stages in their order, without those too short for a step."""
    ends = [*((stage.tokens, round(stage.until * steps)) for stage in schedule), (tokens, steps)]
    lengths = [(size, end - begin) for (_, begin), (size, end) in pairwise([(0, 0), *ends])]
    return [(size, length) for size, length in lengths if length > 0]
