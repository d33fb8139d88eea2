"""Trials of a sweep: propose, train, choose by validation films, and evaluate the test films of the chosen one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from data_prep.runtime.folder_lock import locked
from mae_rad.export.encoder_folder import read_card, read_settings
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.export.predictor_card import PredictorCard
from mae_rad.finetuning.run import Finetuning
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.sweep.parent_run import ParentRun
from mae_rad.sweep.sweep_record import check_record, refuse_signed
from mae_rad.sweep.train_arms import STOPPED, GivenArms, train_arms
from mae_rad.sweep.trial_metric import TrialMetric, choose_metric
from mae_rad.sweep.trial_plan import TrialPlan, plan_trials
from mae_rad.sweep.trial_study import STEP, TrialStudy, trial_name
from mae_rad.sweep.trial_table import trial_rows, trials_text, write_trials

FAILED = 3
"""Exit code where the training of an arm or trial failed."""
_TESTED = "tested"


def run_trials(
    config: Path,
    settings: Sequence[str],
    *,
    out: Path,
    over: Sequence[str],
    trials: int | None = None,
    metric: str | None = None,
    films: int | None = None,
    side_by_side: int = 1,
) -> tuple[int, str]:
    """Train trials until as many have ended as are asked for; several workers may run this on one folder.

    Args:
        config: YAML settings of a pretraining or finetuning.
        settings: ``key=value`` settings of all trials.
        out: folder of the sweep.
        over: what varies, see :func:`read_axes`.
        trials: number of trials, those of earlier commands included; None for every combination of the values.
        metric: metric of validation films; None for the one that selects the weights of a finetuning.
        films: films drawn by a trial (default: those of the config).
        side_by_side: number of trainings at the same time.

    Returns:
        Exit code, 0, FAILED or STOPPED, and the table as text.

    Raises:
        UserError: a setting, the shards or the labels are wrong, or ``out`` holds another sweep; nothing has been
            trained then.
    """
    plan = plan_trials(config, settings, over=over, trials=trials, films=films, out=out)
    refuse_signed(plan.settings.data.shards)
    chosen_by = choose_metric(plan.settings, metric)
    check_record(out, _record(plan, chosen_by))
    study = TrialStudy(plan, chosen_by)
    params = {"trials": plan.limit, "metric": chosen_by.name, **{axis.key: axis.text for axis in plan.axes}}
    parent = ParentRun(study.folder, plan.settings.runtime, out, params)
    common = [*plan.common, *([f"runtime.mlflow_parent={parent.run_id}"] if parent.run_id else [])]
    is_stopped = train_arms(study, config, common, side_by_side=side_by_side)
    with locked(study.folder, wait=True):  # the table of a worker does not replace a later one of another
        rows = trial_rows(study.trials, chosen_by.name)
        write_trials(rows, out / "sweep.csv")
    best = study.best
    _describe(parent, study, chosen_by)
    if is_stopped:
        return STOPPED, f"{trials_text(rows)}\n\na training stopped early: the same command continues it"
    if study.has_only_failed:
        return FAILED, f"{trials_text(rows)}\n\nall of the first trials failed, so no other is begun: give a new --out"
    if not study.is_complete:
        return 0, f"{trials_text(rows)}\n\nother workers train the trials that are running"
    if best is None:
        return FAILED, f"{trials_text(rows)}\n\nno trial has a value, so none is chosen"
    code = FAILED if any(trial.state == TrialState.FAIL for trial in study.trials) else 0
    return code, f"{trials_text(rows)}\n\n{_conclude(plan, study, chosen_by, best, common)}"


def _record(plan: TrialPlan, metric: TrialMetric) -> dict[str, Any]:
    """What a command that continues the sweep must share; the shards and labels are read for it."""
    settings = plan.settings
    task = Finetuning(settings) if isinstance(settings, FinetuneSettings) else Pretraining(settings)
    return {
        "kind": "trials",
        "training": task.kind,
        "settings": settings.results(),
        "dataset_sha256": task.dataset_sha256,
        "inputs": dict(task.inputs),
        "start_from": read_card(encoder_folder(settings.start_from)).weights_sha256 if settings.start_from else None,
        "over": {axis.key: axis.text for axis in plan.axes},
        "films": plan.films,
        "metric": metric.name,
    }


def _describe(parent: ParentRun, study: TrialStudy, metric: TrialMetric) -> None:
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    best = study.best
    metrics = {metric.name: best.value} if best and best.value is not None else {}
    tags = {"best_trial": trial_name(best)} | {f"best.{key}": str(v) for key, v in best.params.items()} if best else {}
    parent.describe(metrics, tags, len(ended), is_complete=study.is_complete)


def _conclude(plan: TrialPlan, study: TrialStudy, metric: TrialMetric, best: FrozenTrial, common: Sequence[str]) -> str:
    """Evaluate the test films of the chosen trial, and say what was found and what to do next."""
    run, settings = plan.out / trial_name(best), " ".join(f"{key}={value}" for key, value in best.params.items())
    lines = [
        f"best: {trial_name(best)}, {metric.name} {best.value:.4g} at step {best.user_attrs[STEP]}: {settings}",
        f"table: {plan.out / 'sweep.csv'}",
    ]
    if metric.is_finetuning:
        lines += _test(plan, study, best, common)
        lines += ["next:", f"  mae-rad predict {run} FILES out=PRIVATE      findings of film files"]
    else:
        lines += [
            "next:",
            f"  mae-rad compare {run} shards=PUBLIC out=COMPARISON      the chosen encoder on test films",
        ]
    return "\n".join(lines)


def _test(plan: TrialPlan, study: TrialStudy, best: FrozenTrial, common: Sequence[str]) -> list[str]:
    """Evaluate the test films of the chosen trial, unless they are evaluated; returns what is said of it."""
    tested, name = list(study.recall(_TESTED) or []), trial_name(best)
    if name not in tested:
        (study.folder / _TESTED).mkdir(exist_ok=True)
        try:
            with locked(study.folder / _TESTED):
                source = GivenArms([study.arm(best, "runtime.test_films=true")])
                if train_arms(source, plan.config, common, side_by_side=1):
                    return ["stopped before its test films were evaluated: the same command continues"]
                if source.failed:
                    return [f"its test films could not be evaluated: {source.failed[name]}"]
                tested.append(name)
                study.remember(_TESTED, tested)
        except BlockingIOError:
            return ["another worker evaluates its test films"]
    card = read_settings(plan.out / name / "predictor" / "predictor.json", PredictorCard, "a predictor", "a finetuning")
    if not card.provenance.get("test_films"):
        return ["there are no test films"]
    others = [other for other in tested if other != name]
    said = f"; those of {', '.join(others)} were evaluated earlier" if others else ", evaluated for this trial alone"
    return [f"on test films{said}:", *(f"  {what}: {value}" for what, value in card.measured.items())]
