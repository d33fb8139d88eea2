"""Arms are every combination of values, each with its own folder, and may have equal arithmetic."""

import itertools
from pathlib import Path

import pytest

from mae_rad.errors import SettingsError
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.sweep.arms import Arm, read_arms
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu.yaml"


def arms(
    *over: str,
    named: tuple[str, ...] = (),
    films: int | None = None,
    equal_flops: bool = False,
    common: tuple[str, ...] = (),
) -> list[Arm]:
    return read_arms(CONFIG, common, over=over, named=named, out=Path("out"), films=films, equal_flops=equal_flops)


def test_every_combination_of_the_values_is_an_arm() -> None:
    made = arms("optimizer.base_learning_rate=1e-4,1e-3", "objective.crop=null,[0.5, 1.0],[0.2, 1.0]")
    settings = [
        (arm.settings.optimizer.base_learning_rate, arm.settings.objective.model_dump()["crop"]) for arm in made
    ]
    assert settings == list(itertools.product((1e-4, 1e-3), (None, (0.5, 1.0), (0.2, 1.0))))
    assert len({arm.settings.runtime.run_dir for arm in made}) == 6


def test_an_arm_by_name_has_its_settings_and_its_folder() -> None:
    (arm,) = arms(named=("half: objective.visible=0.5 objective.predicted=0.25",), common=("seed=7",))
    objective = arm.settings.objective.model_dump()
    assert (objective["visible"], objective["predicted"], arm.settings.seed) == (0.5, 0.25, 7)
    assert arm.settings.runtime.run_dir == Path("out/half")


def test_spaces_within_brackets_belong_to_a_value() -> None:
    (arm,) = arms(named=("large-patches: encoder={model: vit_tiny, patch: 16}  seed=3 ",))
    assert (arm.settings.encoder.model_dump()["patch"], arm.settings.seed) == (16, 3)


def test_brackets_may_hold_brackets() -> None:
    (arm,) = arms(
        named=("small: encoder={model: vit_tiny, patch: 16, drop_path: 0} data.where={view: [PA, AP]} seed=3",)
    )
    assert (arm.settings.data.where, arm.settings.seed) == ({"view": ["PA", "AP"]}, 3)
    made = arms("objective.schedule=[],[{until: 0.5, tokens: 64}, {until: 0.7, tokens: 100}]")
    assert [len(arm.settings.objective.schedule) for arm in made] == [0, 2]


def test_films_set_the_steps_of_every_batch() -> None:
    made = arms("optimizer.batch=32,128", films=1280)
    assert [arm.settings.optimizer.steps for arm in made] == [40, 10]
    assert [f"optimizer.steps={arm.settings.optimizer.steps}" in arm.overrides for arm in made] == [True, True]


def test_equal_flops_follow_the_first_arm_within_a_step() -> None:
    first, half, small = arms(
        named=("a: objective.visible=0.25", "b: objective.visible=0.5", "c: encoder.patch=16"),
        films=128_000,
        equal_flops=True,
    )
    wanted = training_flops(first.settings)
    for arm in (half, small):
        per_step = training_flops(arm.settings) / arm.settings.optimizer.steps
        assert abs(training_flops(arm.settings) - wanted) <= per_step / 2 + 1
    assert half.settings.optimizer.steps < first.settings.optimizer.steps


@pytest.mark.parametrize(
    ("over", "named", "told"),
    [
        (("seed=1,,2",), (), "without empty values"),
        (("seed",), (), "give key=value"),
        ((), ("no colon",), "--arm no colon"),
        ((), ("a/b: seed=1",), "letters, digits"),
        (("seed=1,1",), (), "seed has the value 1 twice"),
        ((), ("a: seed=1", "a: seed=2"), "two arms are called a"),
        ((), ("a: seed=1", "b: seed=1"), "the same settings"),
        (("optimizer.rate=1,2",), (), "optimizer.rate"),
    ],
)
def test_wrong_arms_are_refused(over: tuple[str, ...], named: tuple[str, ...], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        arms(*over, named=named)


def test_arms_are_scored_on_the_shards_of_all(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the arm b has other data\.shards than a"):
        arms(named=("a: seed=1", f"b: seed=1 data.shards={tmp_path}"))


def test_arms_may_differ_in_their_initial_weights_alone() -> None:
    made = arms(named=("random: seed=1", "trained: seed=1 start_from=encoder"))
    assert [arm.settings.start_from for arm in made] == [None, Path("encoder")]
