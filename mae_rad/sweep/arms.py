"""The arms of a sweep: sets of settings that differ from a config, with a name each."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.pretraining.settings import PretrainSettings

_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9.+-]+")
_LONGEST_NAME = 100


class Arm(NamedTuple):
    """One arm of a sweep.

    Attributes:
        name: name of its run folder and in tables.
        overrides: its settings, ``key=value`` each.
        settings: all its settings.
    """

    name: str
    overrides: tuple[str, ...]
    settings: PretrainSettings


def read_arms(
    config: Path,
    common: Sequence[str],
    *,
    over: Sequence[str],
    named: Sequence[str],
    out: Path,
    films: int | None,
    equal_flops: bool,
) -> list[Arm]:
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
    given = [*_combinations(over), *map(_named, named)]
    given = given or [("config", ())]
    arms: list[Arm] = []
    for name, overrides in given:
        settings = load(PretrainSettings, config, [*common, *overrides, f"runtime.run_dir={out / name}"])
        settings = _with_length(settings, films, arms[0].settings if arms and equal_flops else None)
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


def _what_differs(arm: Arm) -> tuple[dict[str, object], Path | None]:
    """Settings by which arms may differ: those of the results, and the initial weights, which these do not contain."""
    return arm.settings.results(), arm.settings.start_from


def _named(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and overrides of an arm given by name."""
    name, colon, overrides = text.partition(":")
    if not colon or not name.strip() or _UNFIT_FOR_A_NAME.search(name.strip()):
        raise SettingsError(
            f"--arm {text}: give 'NAME: key=value key=value …', with a name of letters, digits, dots, dashes and plus."
        )
    return name.strip(), tuple(filter(None, _split_outside_brackets(overrides, " \t\n")))


def _combinations(over: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Names and overrides of every combination of the values in ``over``."""
    if not over:
        return []
    axes: list[list[tuple[str, str]]] = []
    for text in over:
        key, equals, values = text.partition("=")
        if not equals or not all(_split_outside_brackets(values, ",")):
            raise SettingsError(f"--over {text}: give key=value,value,… without empty values.")
        axes.append([(key, value) for value in _split_outside_brackets(values, ",")])
    return [
        (_name(combination), tuple(f"{key}={value}" for key, value in combination))
        for combination in itertools.product(*axes)
    ]


def _name(combination: Sequence[tuple[str, str]]) -> str:
    """Name of a folder: the last part of each key, and its value."""
    parts = (f"{key.rpartition('.')[2]}-{_UNFIT_FOR_A_NAME.sub('-', value).strip('-')}" for key, value in combination)
    return "_".join(parts)[:_LONGEST_NAME]


def _with_length(settings: PretrainSettings, films: int | None, first: PretrainSettings | None) -> PretrainSettings:
    """Set the number of steps: that of ``films`` drawn, or of the FLOPs of the first arm."""
    optimizer = settings.optimizer
    if first is not None:
        per_step = training_flops(settings) / optimizer.steps
        steps = max(1, round(training_flops(first) / per_step))
    elif films is not None:
        steps = max(1, films // optimizer.batch)
    else:
        steps = optimizer.steps
    return settings.model_copy(update={"optimizer": optimizer.model_copy(update={"steps": steps})})


def _split_outside_brackets(text: str, marks: str) -> list[str]:
    """Split at each of ``marks`` that is in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if depth == 0 and character in marks:
            parts.append("")
        else:
            parts[-1] += character
    return parts
