"""The arms of a sweep: sets of settings that differ from a config, with a name each."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.axes import read_axes, split_outside_brackets
from mae_rad.training.settings import TrainingSettings

_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9.+-]+")
_UNFIT_FOR_AN_ARM = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_NAME = 100

T = TypeVar("T", bound=TrainingSettings)


class Arm(NamedTuple, Generic[T]):
    """One training of a sweep: an arm, or a trial.

    Attributes:
        name: name of its run folder and in tables.
        overrides: its settings, ``key=value`` each.
        settings: all its settings.
    """

    name: str
    overrides: tuple[str, ...]
    settings: T


def read_arms(
    config: Path,
    common: Sequence[str],
    *,
    over: Sequence[str],
    named: Sequence[str],
    out: Path,
    films: int | None,
    equal_flops: bool,
) -> list[Arm[PretrainSettings]]:
    """Resolve the arms of a sweep: every combination of the values ``over``, and the arms given by name.

    Args:
        config: YAML settings of a pretraining.
        common: ``key=value`` settings of all arms.
        over: ``key=value,value,…`` each; commas in brackets belong to a value.
        named: ``NAME: key=value key=value …`` each.
        out: folder of the run folders.
        films: films drawn by an arm (default: those of the config); at least one step.
        equal_flops: give all arms the training FLOPs of the first one, by their number of steps.

    Returns:
        The arms in the order given.

    Raises:
        SettingsError: a setting is wrong, a key has no values, two arms have the same name or the same settings, or
            different shards.
    """
    given = [*_combinations(over, common), *map(named_arm, named)]
    return make_arms(config, common, given or [("config", ())], out=out, films=films, equal_flops=equal_flops)


def make_arms(
    config: Path,
    common: Sequence[str],
    given: Sequence[tuple[str, tuple[str, ...]]],
    *,
    out: Path,
    films: int | None,
    equal_flops: bool,
) -> list[Arm[PretrainSettings]]:
    """Resolve arms whose names and settings are known.

    Args:
        config: YAML settings of a pretraining.
        common: ``key=value`` settings of all arms.
        given: name and ``key=value`` settings of each arm.
        out: folder of the run folders.
        films: films drawn by an arm (default: those of the config); at least one step.
        equal_flops: give all arms the training FLOPs of the first one, by their number of steps.

    Returns:
        The arms in the order given.

    Raises:
        SettingsError: as :func:`read_arms`.
    """
    arms: list[Arm[PretrainSettings]] = []
    for name, overrides in given:
        settings = load(PretrainSettings, config, [*common, *overrides, f"runtime.run_dir={out / name}"])
        reference = arms[0].settings if arms and equal_flops else None
        settings = _with_equal_flops(settings, reference) if reference else with_films(settings, films)
        steps = f"optimizer.steps={settings.optimizer.steps}"
        arms.append(Arm(name, (*overrides, steps, f"runtime.run_dir={out / name}"), settings))
    if moved := [arm.name for arm in arms if arm.settings.data.shards != arms[0].settings.data.shards]:
        raise SettingsError(
            f"the arm {moved[0]} has other data.shards than {arms[0].name}: its training films may be films that are"
            " scored. Give data.shards once, for all arms."
        )
    for first, second in itertools.combinations(arms, 2):
        if first.name == second.name:
            raise SettingsError(f"two arms are called {first.name}. Give each arm its own name.")
        if _what_differs(first) == _what_differs(second):
            raise SettingsError(f"the arms {first.name} and {second.name} have the same settings. Remove one of them.")
    return arms


def _what_differs(arm: Arm[PretrainSettings]) -> tuple[dict[str, object], Path | None]:
    """Settings by which arms may differ: those of the results, and the initial weights, which these do not contain."""
    return arm.settings.results(), arm.settings.start_from


def named_arm(text: str) -> tuple[str, tuple[str, ...]]:
    """Read an arm that is given by name.

    Args:
        text: ``NAME: key=value key=value …``.

    Returns:
        Its name, and its settings.

    Raises:
        SettingsError: there is no name, or one that no folder can have.
    """
    name, colon, overrides = text.partition(":")
    if not colon or not name.strip() or _UNFIT_FOR_AN_ARM.search(name.strip()):
        raise SettingsError(
            f"--arm {text}: give 'NAME: key=value key=value …', with a name of letters, digits and . _ + -"
        )
    return name.strip(), tuple(filter(None, split_outside_brackets(overrides, " \t\n")))


def _combinations(over: Sequence[str], common: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Names and overrides of every combination of the values in ``over``."""
    if not over:
        return []
    axes = read_axes(over, common)
    if ranges := [axis.key for axis in axes if axis.range]:
        raise SettingsError(f"--over {ranges[0]} is a range, of which trials draw values. Give --trials, or a list")
    return [
        (_name(combination), tuple(f"{key}={value}" for key, value in combination))
        for combination in itertools.product(*([(axis.key, value) for value in axis.values] for axis in axes))
    ]


def _name(combination: Sequence[tuple[str, str]]) -> str:
    """Name of a folder: the last part of each key, and its value."""
    parts = (f"{key.rpartition('.')[2]}-{_UNFIT_FOR_A_NAME.sub('-', value).strip('-')}" for key, value in combination)
    return "_".join(parts)[:_LONGEST_NAME]


def with_films(settings: T, films: int | None) -> T:
    """Set the number of steps to that of ``films`` drawn; unchanged without.

    Args:
        settings: of a training.
        films: films drawn; at least one step.
    """
    return settings if films is None else _with_steps(settings, max(1, films // settings.optimizer.batch))


def _with_equal_flops(settings: PretrainSettings, first: PretrainSettings) -> PretrainSettings:
    """Set the number of steps to that of the FLOPs of the first arm."""
    per_step = training_flops(settings) / settings.optimizer.steps
    return _with_steps(settings, max(1, round(training_flops(first) / per_step)))


def _with_steps(settings: T, steps: int) -> T:
    return settings.model_copy(update={"optimizer": settings.optimizer.model_copy(update={"steps": steps})})
