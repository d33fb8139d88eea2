"""A strategy that was told what is asked is circular; one that reads reports is not, where experts judge."""

from pathlib import Path
from typing import Any

import pytest

from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.pairs_bench.bench_arms import BenchArm, bench_arms
from mae_rad.pairs_bench.circular_rows import circular_rows, judged_by_experts
from tests.builders.film_tables import film, hexed, write_public
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu_simclr.yaml"


def public(folder: Path, *, experts_in_training: bool) -> Path:
    films, labels = [], list[tuple[Any, ...]]()
    for number in range(8):
        split = "train" if number < 4 else "test"
        films.append(film(number, number, split))
        key = hexed("film", number)
        labels.append((key, "cast", "present", "report"))
        labels.append((key, "fracture", "present", "report"))
        if experts_in_training or split == "test":
            labels.append((key, "fracture", "absent", "expert"))
    return write_public(folder / "public", films, labels)


def arms(folder: Path, *strategies: str) -> list[BenchArm]:
    return bench_arms(strategies, CONFIG, [], named=[], over=[], films=64, out=folder / "out")


@pytest.mark.parametrize(
    ("experts_in_training", "expected"),
    [
        (True, {("e13_fracture", "fracture"), ("e13_fracture", "cast"), ("e5_part_and_view", "parts")}),
        (False, {("e13_fracture", "cast"), ("e5_part_and_view", "parts")}),
    ],
)
def test_circular_rows(tmp_path: Path, experts_in_training: bool, expected: set[tuple[str, str]]) -> None:
    folder = public(tmp_path, experts_in_training=experts_in_training)
    compared = CompareSettings.model_validate(
        {"shards": [folder], "out": tmp_path, "tasks": [{"column": "body_part", "name": "parts"}, {"column": "sex"}]}
    )
    own = arms(tmp_path, "e13_fracture", "e5_part_and_view", "e1_study")
    assert circular_rows(own, compared) == expected
    assert judged_by_experts(own, compared)
    assert not judged_by_experts(own[1:], compared)  # nobody reads labels
