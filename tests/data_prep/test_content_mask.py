"""Masks of drawn films whose anatomy is known."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.content_mask import content_mask
from data_prep.shard_format import mask_shape


def limb(
    rows: int = 1024, columns: int = 768, background: float = 0.02
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """A textured limb from top to bottom before flat air: (display values, where the limb is)."""
    generator = np.random.default_rng(0)
    inside = np.zeros((rows, columns), dtype=np.bool_)
    inside[:, columns // 3 : columns * 2 // 3] = True
    texture = cv2.GaussianBlur(generator.random((rows, columns), dtype=np.float32), (0, 0), 4) * 2
    image = np.where(inside, 0.35 + 0.3 * texture, background) + generator.normal(0, 0.004, (rows, columns))
    return (image.clip(0, 1) * 65535).astype(np.uint16), inside


def cells(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    down, across = mask_shape(*inside.shape)
    return cv2.resize(inside.astype(np.float32), (across, down), interpolation=cv2.INTER_AREA) >= 0.5


def agreement(image: NDArray[np.uint16], inside: NDArray[np.bool_]) -> float:
    found, true = content_mask(image), cells(inside)
    return float((found & true).sum() / (found | true).sum())


@pytest.mark.parametrize("background", [0.0, 0.02, 0.1])
def test_limb_is_told_from_air(background: float) -> None:
    assert agreement(*limb(background=background)) > 0.9


@pytest.mark.parametrize("shape", [(64, 64), (1500, 300), (300, 1500), (17, 40), (16, 1000)])
def test_mask_has_the_shape_of_the_contract(shape: tuple[int, int]) -> None:
    image, _ = limb(*shape)
    assert content_mask(image).shape == mask_shape(*shape)


def test_film_full_of_anatomy_is_content_all_over() -> None:
    image, _ = limb()
    assert content_mask(np.ascontiguousarray(image[:, 260:500])).all()


@pytest.mark.parametrize("value", [0, 30000, 65535])
def test_film_without_anything_is_content_all_over(value: int) -> None:
    assert content_mask(np.full((200, 100), value, dtype=np.uint16)).all()


def test_dark_lungs_stay_content() -> None:
    image, inside = limb()
    cv2.ellipse(image, (384, 500), (60, 200), 0, 0, 360, 1300, -1)
    assert agreement(image, inside) > 0.9


def test_marker_in_the_air_is_not_content() -> None:
    image, inside = limb()
    image[60:100, 40:90] = 60000
    assert agreement(image, inside) > 0.9


def test_white_collimation_is_background_and_a_white_implant_is_not() -> None:
    image, inside = limb()
    image[:, :100] = 65535
    image[300:700, 340:400] = 65535
    assert agreement(image, inside) > 0.9


def test_overexposed_belly_that_fades_stays_content() -> None:
    image, _ = limb()
    image = np.ascontiguousarray(image[:, 260:500])
    fade = np.linspace(0, 2, 400)[:, None].clip(0, 1)
    image[-400:] = (image[-400:] * (1 - fade) + 65535 * fade).astype(np.uint16)
    assert content_mask(image).all()


def test_dim_film_is_judged_by_its_own_range() -> None:
    image, inside = limb()
    assert agreement((image // 8).astype(np.uint16), inside) > 0.9
