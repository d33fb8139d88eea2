"""Arms of a benchmark differ in their strategy alone, and e0_instance is always among them."""

from pathlib import Path

import pytest

from mae_rad.errors import SettingsError
from mae_rad.pairs_bench.bench_arms import BenchArm, bench_arms
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu_simclr.yaml"


def made(*strategies: str, settings: tuple[str, ...] = (), **more: object) -> list[BenchArm]:
    given = {"named": [], "over": [], "films": 640, "out": Path("bench")} | more
    return bench_arms(strategies, CONFIG, settings, **given)  # type: ignore[arg-type]


def test_arms_differ_in_their_pairs_alone() -> None:
    arms = made("e1_study", "e14_random")
    assert [arm.group for arm in arms] == ["e1_study", "e14_random", "e0_instance"]
    results = [arm.arm.settings.results() for arm in arms]
    pairs = [one["objective"].pop("pairs", None) for one in results]  # type: ignore[attr-defined]
    assert results[0] == results[1] == results[2]
    assert pairs[0] != pairs[1] and {arm.arm.settings.optimizer.steps for arm in arms} == {5}


def test_settings_are_combined_and_seeds_are_runs_of_one_group() -> None:
    arms = made("e1_study", "e0_instance", over=["objective.tokens=36,64", "seed=0,1"])
    assert len({arm.arm.name for arm in arms}) == 8
    assert list(dict.fromkeys(arm.group for arm in arms)) == [
        "e1_study, tokens=36", "e1_study, tokens=64", "e0_instance, tokens=36", "e0_instance, tokens=64",
    ]  # fmt: skip
    assert arms[0].arm.settings.runtime.run_dir == Path("bench/e1_study_tokens-36_seed-0")


def test_other_methods_are_arms_by_name() -> None:
    (method, reference) = made("e0_instance", named=["barlow: objective.name=simclr objective.temperature=0.5"])
    assert (method.strategy, method.pairs.name, reference.strategy) == ("barlow", "e0_instance", "e0_instance")


@pytest.mark.parametrize(
    ("strategies", "more", "message"),
    [
        (("e1_study", "e1_study"), {}, "two strategies are called e1_study"),
        (("e99",), {}, "e99 is no readable YAML file of a strategy"),
        (("e1_study",), {"over": ["seed=int:0:3"]}, "is a range"),
        (("e1_study",), {"settings": ("objective.pairs=e0_instance",)}, "Leave it out"),
        (("e1_study",), {"named": ["e1_study: seed=1"]}, "has the name of a strategy"),
    ],
)
def test_what_cannot_be_compared_is_refused(strategies: tuple[str, ...], more: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        made(*strategies, **more)  # type: ignore[arg-type]
