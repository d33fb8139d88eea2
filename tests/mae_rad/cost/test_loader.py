"""Loader cores follow the pixels of a film: those that are decoded at its reduction level, and those of its views."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.settings import load
from mae_rad.cost.loader import measure_pixel_seconds, pixels_per_film
from mae_rad.cost.table import GIB, Machine, films_per_second, loader_cores
from mae_rad.pretraining.settings import PretrainSettings

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"


def settings(name: str, *more: str, **objective: Any) -> PretrainSettings:
    return load(
        PretrainSettings, CONFIGS / f"{name}.yaml", [*more, *(f"objective.{k}={v}" for k, v in objective.items())]
    )


@pytest.mark.parametrize(
    ("tokens", "patch", "side", "decoded", "put_out"),
    [
        (196, 16, 1536, 384**2, 224**2),  # a quarter of the sides is enough for 224 pixels
        (1024, 16, 1536, 768**2, 512**2),
        (196, 48, 1536, 768**2, 672**2),
        (1024, 48, 1536, 1536**2, 1536**2),
        (1024, 48, 1024, 1024**2, 1536**2),  # a smaller film is decoded whole, and enlarged
        (1024, 16, 4096, 512**2, 512**2),
    ],
)
def test_a_film_costs_what_is_decoded_and_what_is_put_out(
    tokens: int, patch: int, side: int, decoded: int, put_out: int
) -> None:
    one = settings("mae", f"encoder.patch={patch}", tokens=tokens)
    assert pixels_per_film(one, side) == decoded + put_out


def test_patches_of_48_need_many_times_the_cores_that_their_number_says() -> None:
    machine = Machine(flops=1e14, gpus=1, memory=80 * GIB, pixel_seconds=9.4e-9, stored_side=1536)
    small, large = (settings("mae", f"encoder.patch={patch}", tokens=196) for patch in (16, 48))
    small_ms, large_ms = (loader_cores(one, machine) / films_per_second(one, machine) * 1e3 for one in (small, large))
    assert large_ms / small_ms == pytest.approx((768**2 + 672**2) / (384**2 + 224**2))
    assert large_ms > 5 * small_ms
    assert loader_cores(settings("mae", tokens=1024), machine) == pytest.approx(
        0.008 * films_per_second(settings("mae", tokens=1024), machine), rel=0.01
    )  # a film of T = 1024 with patches of 16 keeps its 8 ms


def test_views_share_what_is_decoded_and_crops_need_more_of_the_film() -> None:
    whole = settings("simclr", tokens=196, crop="[1.0, 1.0]")
    assert pixels_per_film(whole, 1536) == 384**2 + 2 * 196 * whole.encoder.model_dump()["patch"] ** 2
    quarter = settings("simclr", tokens=196, crop="[0.25, 0.25]")  # at twice the scale
    assert pixels_per_film(quarter, 1536) - pixels_per_film(whole, 1536) == 768**2 - 384**2


def test_a_film_at_its_own_scale_is_decoded_whole_for_any_number_of_tokens() -> None:
    for tokens in (196, 1024):
        assert pixels_per_film(settings("mae", "encoder.scale=native", tokens=tokens), 2000) == 2 * 2000**2


def test_the_rate_of_a_pixel_is_that_of_this_machine() -> None:
    assert 1e-10 < measure_pixel_seconds(0.02) < 1e-6
