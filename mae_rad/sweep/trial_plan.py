"""What the trials of a sweep share, checked before the first is trained."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded
from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.arms import Arm, with_films
from mae_rad.sweep.axes import Axis, read_axes

_MAX_CHECKED = 200
"""Combinations that are validated before the first is trained; with more, each value by itself."""
_DECIDES_VAL_FILMS = (
    "data.shards", "data.generations", "data.distinct_patients", "data.where", "data.policy", "evaluation",
    "early_stopping.metric", "task.name", "task.select", "task.label", "task.labels", "task.target", "task.numbers",
)  # fmt: skip
"""Settings that change which films or labels a trial is chosen by: values of the metric could not be compared."""


class TrialPlan(NamedTuple):
    """Trials that are to be trained.

    Attributes:
        config: YAML settings that all trials start from.
        common: ``key=value`` settings of all trials.
        settings: of all trials, with the first value of what varies.
        axes: what varies.
        films: films drawn by a trial; None for the steps of the config.
        out: folder of the sweep.
        limit: number of trials.
    """

    config: Path
    common: tuple[str, ...]
    settings: PretrainSettings | FinetuneSettings
    axes: tuple[Axis, ...]
    films: int | None
    out: Path
    limit: int

    @property
    def combinations(self) -> list[dict[str, str]] | None:
        """All combinations of the values; None where a range has no end of them."""
        if any(axis.range for axis in self.axes):
            return None
        keys = [axis.key for axis in self.axes]
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(a.values for a in self.axes))]

    def trial(self, name: str, values: dict[str, Any]) -> Arm[PretrainSettings | FinetuneSettings]:
        """Settings of a trial.

        Args:
            name: of its run folder.
            values: setting → value.

        Raises:
            SettingsError: the values do not go together.
        """
        overrides = [*(f"{axis.key}={values[axis.key]}" for axis in self.axes), f"runtime.run_dir={self.out / name}"]
        settings = with_films(load(type(self.settings), self.config, [*self.common, *overrides]), self.films)
        return Arm(name, (*overrides, f"optimizer.steps={settings.optimizer.steps}"), settings)


def is_finetuning(config: Path, settings: Sequence[str]) -> bool:
    """Whether a config is one of finetuning: it has a task.

    Args:
        config: YAML settings.
        settings: ``key=value`` settings beside them.
    """
    if any(setting.partition("=")[0].partition(".")[0] == "task" for setting in settings):
        return True
    try:
        values = parse_yaml(read_bounded(config, MAX_YAML_BYTES).decode())
    except (OSError, ValueError):
        return False  # loading it says what is wrong
    return isinstance(values, dict) and "task" in values


def plan_trials(
    config: Path, settings: Sequence[str], *, over: Sequence[str], trials: int | None, films: int | None, out: Path
) -> TrialPlan:
    """Check what the trials share and what varies.

    Args:
        config: YAML settings of a pretraining or finetuning.
        settings: ``key=value`` settings of all trials.
        over: values of ``--over``.
        trials: number of trials; None for every combination of the values.
        films: films drawn by a trial.
        out: folder of the sweep.

    Raises:
        SettingsError: a setting, a value or a number is wrong.
    """
    if trials is not None and trials < 1:
        raise SettingsError(f"--trials must be 1 or more, not {trials}")
    axes = tuple(read_axes(over, settings))
    if not axes:
        raise SettingsError("trials vary settings: give --over key=value,value,… or a range, key=log:1e-5:1e-3")
    is_finetune = is_finetuning(config, settings)
    common = (*settings, *(["runtime.test_films=false"] if is_finetune else []))
    model: type[PretrainSettings] | type[FinetuneSettings] = FinetuneSettings if is_finetune else PretrainSettings
    for axis in axes:
        _check_axis(axis)
    first = [f"{axis.key}={axis.ends[0]}" for axis in axes]  # what is varied need not be valid in the config
    shared = with_films(load(model, config, [*common, *first, f"runtime.run_dir={out / 'trial'}"]), films)
    sizes = [len(axis.values) or math.inf for axis in axes]
    limit = min(math.inf if trials is None else trials, math.prod(sizes))
    if limit == math.inf:
        raise SettingsError("a range has any number of values. Give --trials, or a list of values")
    plan = TrialPlan(config, common, shared, axes, films, out, int(limit))
    _check_values(plan)
    return plan


def _check_axis(axis: Axis) -> None:
    if axis.key == "runtime" or axis.key.startswith("runtime."):
        raise SettingsError(f"--over {axis.key}: settings of runtime change no result, so trials of it would be equal")
    for name in _DECIDES_VAL_FILMS:
        if axis.key == name or axis.key.startswith(f"{name}.") or name.startswith(f"{axis.key}."):
            raise SettingsError(
                f"--over {axis.key}: it decides by which films, labels or metric trials are judged, so they could not"
                " be compared. Give it once, for all trials"
            )


def _check_values(plan: TrialPlan) -> None:
    """Validate every combination of the values if they are few, else every value beside the first ones."""
    axes = plan.axes
    if math.prod(len(axis.ends) for axis in axes) <= _MAX_CHECKED:
        combinations = [
            dict(zip((a.key for a in axes), v, strict=True)) for v in itertools.product(*(a.ends for a in axes))
        ]
    else:
        first = {axis.key: axis.ends[0] for axis in axes}
        combinations = [first | {axis.key: value} for axis in axes for value in axis.ends]
    for values in combinations:
        plan.trial("trial", values)
