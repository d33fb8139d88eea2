"""The trials of a sweep as a study of Optuna: proposed by its sampler, ended early by its pruner, kept in a journal.

SWEEP/study/
  study.journal      every trial, its values and its end, one line each; workers append to it, on other hosts too
  locks/trial-…/     locked while a worker trains the trial, and free again when that worker ends in any way

A trial that no worker has locked and that has not ended goes on from its last checkpoint. The settings proposed for a
trial depend on the seed, its number and the trials that have ended, not on how often the sweep was interrupted.
"""

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from data_prep.runtime.folder_lock import locked
from mae_rad.errors import RunError, SettingsError
from mae_rad.sweep.arms import Arm
from mae_rad.sweep.axes import Axis
from mae_rad.sweep.train_arms import ArmSource
from mae_rad.sweep.trial_metric import TrialMetric
from mae_rad.sweep.trial_plan import TrialPlan

RANDOM_TRIALS = 5
"""Trials that are drawn at random before the sampler learns from values, and that end before one is ended early."""
_WARMUP_SHARE = 0.25
"""Share of the steps before which no trial is ended early."""
_MAX_FAILED = 3
"""Failed trials after which no other is begun, if none has succeeded."""
_STUDY = "sweep"
FAILURE, STEP, SAME_AS = "failure", "step", "same_as"
"""Names of what is kept of a trial beside its value: why it failed; the step of its weights; the earlier trial of the
same settings, which was not trained again."""
_ENDED_EARLY = "ended_early"
"""Name of the step at which the pruner ended a trial."""

_log = logging.getLogger(__name__)


class TrialStudy(ArmSource):
    """The trials of a sweep.

    Attributes:
        folder: of the study.

    Args:
        plan: what the trials share and what varies.
        metric: by which trials are chosen.
    """

    def __init__(self, plan: TrialPlan, metric: TrialMetric) -> None:
        self.folder = plan.out / "study"
        self._plan, self._metric = plan, metric
        self._lock_folders = self.folder / "locks"
        self._lock_folders.mkdir(parents=True, exist_ok=True)
        self._locks: dict[str, ExitStack] = {}
        self._running: dict[str, Trial] = {}
        self._sizes: dict[str, int] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with locked(self.folder, wait=True):
            self._study = _open_study(self.folder / "study.journal", plan, metric)
            _enqueue_all(self._study, plan)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that were begun, in order."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    @property
    def is_complete(self) -> bool:
        """Whether as many trials have ended as were asked for."""
        trials = self.trials
        return len(trials) >= self._plan.limit and all(trial.state.is_finished() for trial in trials)

    @property
    def has_only_failed(self) -> bool:
        """Whether the first trials failed one and all, so that others would, too."""
        trials = self.trials
        return len(trials) >= _MAX_FAILED and all(trial.state == TrialState.FAIL for trial in trials)

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial with the best value, the earliest of equal ones; None without any."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        sign = 1 if self._metric.direction == "maximize" else -1
        return max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def arm(self, trial: FrozenTrial, *more: str) -> Arm[Any]:
        """Settings of a trial, with further ones."""
        arm = self._plan.trial(trial_name(trial), trial.params)
        return arm._replace(overrides=(*arm.overrides, *more))

    def remember(self, name: str, value: object) -> None:
        """Keep something about the whole study."""
        self._study.set_user_attr(name, value)

    def recall(self, name: str) -> Any:
        """Return what was kept; None without."""
        return self._study.user_attrs.get(name)

    def take(self) -> Arm[Any] | None:
        """Continue a trial that nobody trains, or begin one; None where as many were begun as are asked for."""
        while True:
            with locked(self.folder, wait=True):
                trial = self._abandoned() or self._propose()
            if trial is None:
                return None
            if (arm := self._checked(trial)) is not None:
                self._running[arm.name] = trial
                return arm

    def gives_up(self, arm: Arm[Any]) -> bool:
        """Report the values logged since the last call; whether the pruner would rather train other trials."""
        log = arm.settings.runtime.run_dir / "metrics.jsonl"
        size = log.stat().st_size if log.exists() else 0
        if size == self._sizes.get(arm.name):
            return False
        self._sizes[arm.name] = size
        return self._is_below_median(arm, self._running[arm.name])

    def ended(self, arm: Arm[Any], failure: str | None) -> None:
        """Record the value of a finished trial, or why it has none.

        What it logged since the last call of :meth:`gives_up` is judged as well: a trial that was below the median
        counts as ended early where it was, however fast it trained.
        """
        trial = self._running.pop(arm.name)
        if self._is_below_median(arm, trial):
            self._study.tell(trial, state=TrialState.PRUNED)
        elif failure is not None:
            self._fail(trial, failure)
        elif (result := self._metric.result(arm.settings.runtime.run_dir)) is None:
            self._fail(trial, f"{self._metric.name} was not logged, or is not finite")
        else:
            trial.set_user_attr(STEP, result[0])
            self._study.tell(trial, result[1])
            _log.info("%s: %s %.4g", arm.name, self._metric.name, result[1])
        self._locks.pop(arm.name).close()

    def stopped(self, arm: Arm[Any]) -> None:
        """Let go of a trial, which goes on later."""
        del self._running[arm.name]
        self._locks.pop(arm.name).close()

    def _is_below_median(self, arm: Arm[Any], trial: Trial) -> bool:
        """Report the values that are not reported yet, in the order of their steps, up to one that ends the trial."""
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        if _ENDED_EARLY in frozen.user_attrs:
            return True
        for step, value in sorted(self._metric.values(arm.settings.runtime.run_dir).items()):
            if step in frozen.intermediate_values or step >= arm.settings.optimizer.steps:
                continue
            trial.report(value, step)
            if trial.should_prune():
                trial.set_user_attr(_ENDED_EARLY, step)
                _log.info("%s: ended at step %d, below the median of the others", arm.name, step)
                return True
        return False

    def _propose(self) -> Trial | None:
        number = len(self.trials)
        if number >= self._plan.limit or self.has_only_failed:
            return None
        self._study.sampler = TPESampler(
            seed=(self._plan.settings.seed + number) % 2**32, n_startup_trials=RANDOM_TRIALS
        )
        trial = self._study.ask(fixed_distributions={axis.key: _distribution(axis) for axis in self._plan.axes})
        self._lock(trial_name(trial))
        return trial

    def _abandoned(self) -> Trial | None:
        """Lock a trial that was begun and whose worker has ended."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial_name(trial) not in self._locks and self._lock(trial_name(trial)):
                return Trial(self._study, trial._trial_id)
        return None

    def _lock(self, name: str) -> bool:
        (self._lock_folders / name).mkdir(exist_ok=True)
        stack = ExitStack()
        try:
            stack.enter_context(locked(self._lock_folders / name))
        except BlockingIOError:
            return False
        self._locks[name] = stack
        return True

    def _checked(self, trial: Trial) -> Arm[Any] | None:
        """The arm of a trial; None where it has ended without a training: values that do not fit, or were trained."""
        name = trial_name(trial)
        for earlier in self.trials:
            has_value = earlier.state in (TrialState.COMPLETE, TrialState.PRUNED)
            if earlier.number != trial.number and earlier.params == trial.params and has_value:
                trial.set_user_attr(SAME_AS, earlier.user_attrs.get(SAME_AS) or trial_name(earlier))
                self._study.tell(trial, earlier.value if earlier.state == TrialState.COMPLETE else None, earlier.state)
                self._locks.pop(name).close()
                return None
        try:
            return self._plan.trial(name, trial.params)
        except SettingsError as error:
            self._fail(trial, str(error))
            self._locks.pop(name).close()
            return None

    def _fail(self, trial: Trial, reason: str) -> None:
        _log.warning("%s: failed: %s", trial_name(trial), reason)
        trial.set_user_attr(FAILURE, reason)
        self._study.tell(trial, state=TrialState.FAIL)


def trial_name(trial: Trial | FrozenTrial) -> str:
    """Name of a trial: that of its run folder."""
    return f"trial-{trial.number:04d}"


def _open_study(journal: Path, plan: TrialPlan, metric: TrialMetric) -> optuna.Study:
    steps = plan.settings.optimizer.steps
    pruner = MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=round(_WARMUP_SHARE * steps))
    try:
        _drop_torn_line(journal)
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=_STUDY,
            load_if_exists=True,
            direction=metric.direction,
            pruner=pruner,
        )
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise RunError(f"{journal} is damaged, so the sweep cannot go on. Give a new --out") from None


def _drop_torn_line(journal: Path) -> None:
    """Remove an incomplete last line, which a full disk or a crash left: what is appended to it could not be read."""
    if not journal.exists() or journal.read_bytes()[-1:] in (b"\n", b""):
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def _enqueue_all(study: optuna.Study, plan: TrialPlan) -> None:
    """Queue every combination of the values, if that many trials are asked for: each is trained once."""
    combinations = plan.combinations
    if combinations is not None and plan.limit >= len(combinations):
        for values in combinations:
            study.enqueue_trial(values, skip_if_exists=True)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.range is None:
        return CategoricalDistribution(axis.values)
    if axis.range.scale == "int":
        return IntDistribution(int(axis.range.low), int(axis.range.high))
    return FloatDistribution(axis.range.low, axis.range.high, log=axis.range.scale == "log")
