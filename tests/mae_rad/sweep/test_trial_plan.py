"""What is wrong with a search is said before anything is trained or read."""

from pathlib import Path

import pytest

from mae_rad.errors import SettingsError
from mae_rad.sweep.trial_metric import choose_metric
from mae_rad.sweep.trial_plan import TrialPlan, is_finetuning, plan_trials
from tests.builders.tiny_finetuning import arguments
from tests.builders.tiny_run import ROOT

PRETRAIN = ROOT / "configs" / "pretrain" / "small_cpu.yaml"
RATE = "optimizer.base_learning_rate=log:1e-4:1e-1"


def plan(*over: str, trials: int | None = 4, settings: tuple[str, ...] = (), films: int | None = None) -> TrialPlan:
    words = arguments(Path("public"), Path("run"), *settings)
    given = [word for word in words[2:] if not word.startswith(("runtime=", "optimizer="))]
    return plan_trials(Path(words[1]), given, over=over, trials=trials, films=films, out=Path("out"))


def test_a_trial_has_its_values_its_folder_and_no_test_films() -> None:
    arm = plan(RATE, "film.flip=0,0.5", films=320).trial(
        "trial-0002", {"optimizer.base_learning_rate": 0.01, "film.flip": "0.5"}
    )
    assert (arm.settings.optimizer.base_learning_rate, arm.settings.optimizer.steps) == (0.01, 5)
    assert arm.settings.runtime.run_dir == Path("out/trial-0002")
    assert arm.settings.runtime.model_dump()["test_films"] is False
    assert arm.overrides[:2] == ("optimizer.base_learning_rate=0.01", "film.flip=0.5")


def test_every_combination_is_tried_unless_fewer_trials_are_asked_for() -> None:
    assert plan("film.flip=0,0.5", "film.noise=0,0.1,0.2", trials=None).limit == 6
    assert plan("film.flip=0,0.5", "film.noise=0,0.1,0.2", trials=100).limit == 6
    assert plan("film.flip=0,0.5", "film.noise=0,0.1,0.2", trials=4).limit == 4
    assert plan(RATE, "film.flip=0,0.5", trials=100).limit == 100
    assert plan(RATE).combinations is None


@pytest.mark.parametrize(
    ("over", "trials", "told"),
    [
        ((RATE,), 0, "--trials must be 1 or more, not 0"),
        ((RATE,), None, "Give --trials"),
        ((), 3, "give --over"),
        (("optimizer.base_learning_rat=log:1e-5:1e-3",), 3, "did you mean 'optimizer.base_learning_rate'"),
        (("film.flip=0,2",), 3, "film.flip"),
        (("optimizer.batch=int:-1:8",), 3, "optimizer.batch"),
        (("optimizer.batch=8,9", "optimizer.accumulation=1,3"), 4, "batch 8 is not divisible by accumulation 3"),
        (("film.flip=0,0",), 3, "has the value 0 twice"),
        (("runtime.workers=0,1",), 3, "change no result"),
        (("data.where={view: PA},{view: AP}",), 3, "could not be compared"),
        (("data.generations=1,2",), 3, "could not be compared"),
        (("evaluation.policy.uncertain=ignore,positive",), 3, "could not be compared"),
        (("task={name: detection},{name: regression}",), 3, "could not be compared"),
        (("early_stopping={metric: auroc, patience: 1},{metric: loss, patience: 1}",), 3, "could not be compared"),
        (("early_stopping.patience=1,2",), 3, "early_stopping"),
    ],
)
def test_wrong_searches_are_refused(over: tuple[str, ...], trials: int | None, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        plan(*over, trials=trials)


def test_the_kind_of_training_is_that_of_the_config(tmp_path: Path) -> None:
    assert not is_finetuning(PRETRAIN, ["optimizer.steps=3"])
    assert is_finetuning(ROOT / "configs" / "finetune" / "sex.yaml", [])
    assert is_finetuning(PRETRAIN, ["task.name=multiclass"])
    assert not is_finetuning(tmp_path / "absent.yaml", [])


def test_a_metric_is_one_that_the_training_logs() -> None:
    settings = plan(RATE).settings
    assert choose_metric(settings, None).name == "val/auroc"
    assert choose_metric(settings, "val/loss/object").direction == "minimize"
    with pytest.raises(SettingsError, match=r"acc is not logged.*It logs auroc, average_precision, loss"):
        choose_metric(settings, "acc")
    stopping = plan(RATE, settings=("early_stopping={metric: average_precision, patience: 1}",)).settings
    assert choose_metric(stopping, None).name == "val/average_precision"


def test_a_pretraining_is_chosen_by_its_probe() -> None:
    off = plan_trials(PRETRAIN, ["runtime.probe_every=0"], over=[RATE], trials=2, films=None, out=Path("out")).settings
    with pytest.raises(SettingsError, match=r"Give runtime\.probe_every=STEPS"):
        choose_metric(off, "probe/knn")
