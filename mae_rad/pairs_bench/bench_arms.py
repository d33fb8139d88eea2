"""The arms of a benchmark of pairs: every strategy, and other methods, under each of some settings."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.pairing.settings import INSTANCE, PairSettings
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.arms import Arm, make_arms, named_arm
from mae_rad.sweep.axes import read_axes

_SEED = "seed"
_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9._+-]+")


class BenchArm(NamedTuple):
    """A training of a benchmark.

    Attributes:
        arm: the training.
        strategy: name of the strategy, or of another method.
        setting: what it shares with the strategies that it is compared with; empty where there is one only.
    """

    arm: Arm[PretrainSettings]
    strategy: str
    setting: str

    @property
    def group(self) -> str:
        """Name in the comparison: equal for runs that differ in their seed only."""
        return in_group(self.strategy, self.setting)

    @property
    def pairs(self) -> PairSettings:
        """The strategy."""
        return self.arm.settings.objective.strategy


def in_group(strategy: str, setting: str) -> str:
    """Name of the runs of a strategy under a setting.

    Args:
        strategy: its name.
        setting: the setting.
    """
    return f"{strategy}, {setting}" if setting else strategy


def bench_arms(
    strategies: Sequence[str],
    config: Path,
    settings: Sequence[str],
    *,
    named: Sequence[str],
    over: Sequence[str],
    films: int | None,
    out: Path,
) -> list[BenchArm]:
    """Resolve the arms; e0_instance, with which all are compared, is always among them, and the last.

    Args:
        strategies: names of configs/pairs, or files.
        config: YAML settings of a pretraining.
        settings: ``key=value`` settings of all arms.
        named: ``NAME: key=value …`` each: other methods, with the same pairs as e0_instance.
        over: ``key=value,value,…`` each: every arm is trained once for every combination.
        films: films drawn by an arm (default: those of the config).
        out: folder of the run folders.

    Raises:
        SettingsError: a setting is wrong, or two strategies have the same name.
    """
    axes = read_axes(over, settings)
    if ranges := [axis.key for axis in axes if axis.range]:
        raise SettingsError(f"--over {ranges[0]} is a range, of which nothing draws values here. Give a list")
    if fixed := [text for text in settings if text.partition("=")[0] == "objective.pairs"]:
        raise SettingsError(f"{fixed[0]}: the strategies of a benchmark are given by name or file. Leave it out")
    places = _names(strategies, config, settings)
    methods: dict[str, tuple[str, ...]] = {name: (f"objective.pairs={place}",) for name, place in places.items()}
    for name, overrides in map(named_arm, named):
        if name in methods:
            raise SettingsError(f"--arm {name} has the name of a strategy. Give it another")
        methods[name] = overrides
    methods[INSTANCE] = methods.pop(INSTANCE, (f"objective.pairs={INSTANCE}",))
    combinations = list(itertools.product(*([(axis.key, value) for value in axis.values] for axis in axes)))
    made = [(name, values) for name in methods for values in combinations]
    given = [(_folder(name, values), (*methods[name], *(f"{k}={v}" for k, v in values))) for name, values in made]
    arms = make_arms(config, settings, given, out=out, films=films, equal_flops=False)
    return [
        BenchArm(arm, name, " ".join(f"{_last(key)}={value}" for key, value in values if key != _SEED))
        for arm, (name, values) in zip(arms, made, strict=True)
    ]


def _folder(name: str, values: Sequence[tuple[str, str]]) -> str:
    """Name of a run folder: the strategy, then the last part of each key with its value."""
    return _UNFIT_FOR_A_NAME.sub("-", "_".join([name, *(f"{_last(key)}-{value}" for key, value in values)]))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _names(strategies: Sequence[str], config: Path, settings: Sequence[str]) -> dict[str, str]:
    """Name of each strategy → how it was given."""
    places: dict[str, str] = {}
    for place in strategies:
        name = load(PretrainSettings, config, [*settings, f"objective.pairs={place}"]).objective.strategy.name
        if name in places:
            raise SettingsError(f"two strategies are called {name}. Give each once, or a name in its file")
        places[name] = place
    return places
