"""Content masks of synthetic films with known anatomy."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.film.content_mask import content_mask
from data_prep.shard_format.content_mask_bits import mask_shape
from mae_rad.bench.sharding.bordered_films import BorderedFilm, bordered_films


def limb(
    rows: int = 1024, columns: int = 768, background: float = 0.02
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """A textured limb from top to bottom in flat air: (display values, mask of the limb)."""
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
def test_limb_is_separated_from_air(background: float) -> None:
    assert agreement(*limb(background=background)) > 0.9


@pytest.mark.parametrize("shape", [(64, 64), (1500, 300), (300, 1500), (17, 40), (16, 1000)])
def test_mask_has_the_shape_of_the_contract(shape: tuple[int, int]) -> None:
    image, _ = limb(*shape)
    assert content_mask(image).shape == mask_shape(*shape)


def test_film_full_of_anatomy_is_all_content() -> None:
    image, _ = limb()
    assert content_mask(np.ascontiguousarray(image[:, 260:500])).all()


@pytest.mark.parametrize("value", [0, 30000, 65535])
def test_uniform_film_is_all_content(value: int) -> None:
    assert content_mask(np.full((200, 100), value, dtype=np.uint16)).all()


def test_dark_lungs_stay_content() -> None:
    image, inside = limb()
    cv2.ellipse(image, (384, 500), (60, 200), 0, 0, 360, 1300, -1)
    assert agreement(image, inside) > 0.9


def test_marker_in_the_air_is_not_content() -> None:
    image, inside = limb()
    image[60:100, 40:90] = 60000
    assert agreement(image, inside) > 0.9


def test_faint_limb_next_to_bright_markers_is_content() -> None:
    image, inside = limb(background=0.01)
    marker = np.zeros(image.shape, dtype=np.uint8)
    for place in ((10, 180), (10, 900), (560, 180)):
        cv2.putText(marker, "RTB", place, cv2.FONT_HERSHEY_SIMPLEX, 3.5, (255,), 20)
    image = np.where(marker > 0, np.uint16(65535), image // np.uint16(9))
    found, true = content_mask(image), cells(inside)
    assert found[true].mean() > 0.98
    assert not found.all()


def test_white_collimation_is_background_and_a_white_implant_is_not() -> None:
    image, inside = limb()
    image[:, :100] = 65535
    image[300:700, 340:400] = 65535
    assert agreement(image, inside) > 0.9


def test_overexposed_abdomen_that_fades_stays_content() -> None:
    image, _ = limb()
    image = np.ascontiguousarray(image[:, 260:500])
    fade = np.linspace(0, 2, 400)[:, None].clip(0, 1)
    image[-400:] = (image[-400:] * (1 - fade) + 65535 * fade).astype(np.uint16)
    assert content_mask(image).all()


def test_dim_film_is_evaluated_in_its_own_range() -> None:
    image, inside = limb()
    assert agreement((image // 8).astype(np.uint16), inside) > 0.9


def test_grey_air_inside_a_black_border_is_background() -> None:
    image, inside = limb(background=0.2)
    inside[:60] = inside[-60:] = False
    image[:60] = image[-60:] = 300
    image[:, :50] = image[:, -50:] = 300
    assert agreement(image, inside) > 0.9


def test_rim_along_the_edge_of_the_collimator_is_background() -> None:
    image, inside = limb()
    cv2.rectangle(image, (40, 24), (720, 994), 30_000, 12)
    inside[:21] = inside[1000:] = False
    image[:21] = image[1000:] = 0
    assert agreement(image, inside) > 0.9


def test_thin_white_frame_is_background() -> None:
    image, inside = limb()
    image[:14], image[-9:], image[:, :11], image[:, -14:] = (60_000,) * 4
    assert agreement(image, inside) > 0.9


@pytest.fixture(scope="module")
def scored() -> list[tuple[BorderedFilm, float]]:
    return [(film, film.agreement(content_mask(film.shown))) for film in bordered_films(1, 400)]


def test_mask_agrees_with_the_truth_for_every_body_part_scanner_and_border(
    scored: list[tuple[BorderedFilm, float]],
) -> None:
    for name, least in (("part", 0.9), ("scanner", 0.9), ("border", 0.9)):
        for kind in {getattr(film, name) for film, _ in scored}:
            mean = np.mean([score for film, score in scored if getattr(film, name) == kind])
            assert mean >= least, f"{name} {kind}: mean IoU {mean:.3f}"
    assert np.mean([score for _, score in scored]) >= 0.94


def test_mask_loses_hardly_any_anatomy(scored: list[tuple[BorderedFilm, float]]) -> None:
    recalls = []
    for film, _ in scored:
        true = cells(film.body)
        recalls.append((content_mask(film.shown) & true).sum() / true.sum())
    assert np.mean(recalls) > 0.97
