"""Augmentation is drawn within its ranges, and never applied in evaluation."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from data_prep.deidentify.vocabulary import vocabulary
from data_prep.shard_format.apply_display import display_table, pack_table
from data_prep.shard_format.sidecar import Display, Sidecar
from mae_rad.data.augmentation import MIDLINE, Augmentation, Variation, draw_variation, windows
from mae_rad.data.batch import ViewSpec
from mae_rad.data.display_augmentation import WHITE, add_noise, varied_table
from mae_rad.data.film import Film
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.views import DrawnView, draw_view, whole_film
from tests.builders.shard_builder import film, noise

EVERYTHING = Augmentation(crop=(0.3, 0.9), flip=0.5, window=1, other_window=0.5, gamma=1, noise=1)
DRAWS = 300


def display(**fields: Any) -> Display:
    given = {
        "bits": 12, "value_offset": 0, "value_shift": 0, "slope": 1.0, "intercept": 0.0, "center": 2000.0,
        "width": 1000.0, "function": "LINEAR_EXACT", "invert": False, "source": "window", "windows": [(2000.0, 1000.0)],
    }  # fmt: skip
    return Display.model_validate(given | fields)


def a_film(rows: int = 300, columns: int = 240, **fields: Any) -> Film:
    stream, sidecar = film("one", noise(rows, columns), **fields)
    return Film(stream, Sidecar.model_validate(sidecar))


def drawn(augmentation: Augmentation, one: Film, count: int = DRAWS) -> list[Variation]:
    return [draw_variation(augmentation, one.sidecar, generator_for("test", place)) for place in range(count)]


def view(spec: ViewSpec, one: Film, *seed: int | str) -> DrawnView:
    result = draw_view(one, spec, 16, generator_for(*seed))
    assert result is not None
    return result


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    one = a_film()
    assert drawn(EVERYTHING, one) == drawn(EVERYTHING, one)
    assert len(set(drawn(EVERYTHING, one))) == DRAWS
    spec = ViewSpec(196, EVERYTHING, visible=0.5)
    first, again, other = (view(spec, one, "view", 7, epoch, "key", "a") for epoch in (0, 0, 1))
    assert np.array_equal(first.visible.values, again.visible.values)
    assert not np.array_equal(first.visible.values, other.visible.values)


def test_draws_stay_in_their_ranges_and_use_them() -> None:
    many = drawn(EVERYTHING, a_film(body_part="PELVIS"))
    ranges = {
        "area": (0.3, 0.9),
        "shift": (-0.2, 0.2),
        "widen": (1 / 1.5, 1.5),
        "gamma": (1 / 1.8, 1.8),
        "noise": (0, 0.02),
    }
    for name, (low, high) in ranges.items():
        values = [getattr(one, name) for one in many]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    assert all(0 <= place < 1 for one in many for place in one.place)
    assert 0.4 < np.mean([one.mirrored for one in many]) < 0.6


def test_half_the_strength_is_half_the_way() -> None:
    one = a_film()
    whole, half = (drawn(Augmentation(window=s, gamma=s, noise=s), one, 20) for s in (1.0, 0.5))
    for strong, weak in zip(whole, half, strict=True):
        assert weak.shift == pytest.approx(strong.shift / 2)
        assert weak.noise == pytest.approx(strong.noise / 2)
        assert weak.widen**2 == pytest.approx(strong.widen)
        assert weak.gamma**2 == pytest.approx(strong.gamma)


def test_what_is_turned_on_moves_nothing_else() -> None:
    one = a_film()
    with_crop = Augmentation(crop=(0.3, 0.9))
    plain, noisy = drawn(with_crop, one), drawn(with_crop.model_copy(update={"noise": 1.0, "gamma": 0.4}), one)
    assert [(v.area, v.place) for v in plain] == [(v.area, v.place) for v in noisy]


def test_nothing_varies_by_default() -> None:
    one = a_film()
    for variation in drawn(Augmentation(), one, 20):
        assert variation._replace(place=(0.5, 0.5), noise_seed=0) == Variation()
        assert varied_table(one.sidecar.display, variation) is display_table(one.sidecar.display)
    first, other = (view(ViewSpec(196), one, "view", seed) for seed in (1, 2))
    assert np.array_equal(first.visible.values, other.visible.values)
    assert np.array_equal(first.visible.values, whole_film(one, 196, 16).values)


@pytest.mark.parametrize(
    ("fields", "mirrored"),
    [
        ({"body_part": "PELVIS"}, True),
        ({"body_part": "CSPINE", "view": "LATERAL"}, True),
        ({"body_part": "CHEST"}, False),
        ({"body_part": "ABDOMEN"}, False),
        ({"body_part": "LSPINE"}, False),  # the organs beside it
        ({"body_part": "HAND"}, False),  # it has a side, recorded or not
        ({"body_part": "HAND", "laterality": "R"}, False),
        ({"body_part": "PELVIS", "laterality": "L"}, False),
        ({"body_part": "PELVIS", "laterality": "B"}, False),
        ({"body_part": None}, False),
    ],
)
def test_mirrored_are_only_films_that_have_no_side(fields: dict[str, Any], mirrored: bool) -> None:
    one = a_film(**fields)
    assert {variation.mirrored for variation in drawn(Augmentation(flip=1.0), one, 20)} == {mirrored}
    assert {variation.mirrored for variation in drawn(Augmentation(flip=1.0, flip_sides=True), one, 20)} == {True}
    assert not any(variation.mirrored for variation in drawn(Augmentation(flip_sides=True), one, 20))


def test_midline_body_parts_are_terms_of_the_vocabulary() -> None:
    assert set(vocabulary("body_part").spellings.values()) >= MIDLINE


def test_the_window_moves_before_anything_is_clipped() -> None:
    table = varied_table(display(), Variation(shift=-0.2, widen=1.5))
    expected = np.clip((np.arange(4096) - 1800) / 1500 + 0.5, 0, 1) * WHITE
    assert np.abs(table - expected).max() <= 1
    below = slice(1200, 1500)  # black in the window of the film
    assert not display_table(display())[below].any()
    assert len(np.unique(table[below])) > 200


@pytest.mark.parametrize("invert", [False, True])
def test_a_film_shown_by_a_table_moves_alike(invert: bool) -> None:
    """A ramp as a table is the window that draws it; the ends of its range apart."""
    formula = display(invert=invert)
    ramp = display_table(formula)
    table = display(source="voi_lut", center=None, width=None, windows=[], table=pack_table(ramp), invert=invert)
    variation = Variation(shift=0.15, widen=0.8)
    assert np.abs(varied_table(table, variation).astype(int) - varied_table(formula, variation)).max() < 0.02 * WHITE


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "shown",
    [
        display(), display(function="LINEAR", width=1.0), display(function="SIGMOID"), display(invert=True),
        display(source="declared_range", center=None, width=None, windows=[]),
    ],
    ids=["window", "a step", "sigmoid", "inverted", "declared range"],
)  # fmt: skip
def test_varied_displays_keep_the_order_of_values(shown: Display, seed: int) -> None:
    variation = draw_variation(EVERYTHING, a_film().sidecar, generator_for("order", seed))._replace(window=0)
    steps = np.diff(varied_table(shown, variation).astype(int))
    assert (steps <= 0).all() if shown.invert else (steps >= 0).all()


def test_another_window_is_drawn_where_it_shows_the_same() -> None:
    hard, blank, wide = (2100.0, 700.0), (9000.0, 500.0), (2000.0, 40_000.0)
    one = a_film(display=display(windows=[(2000.0, 1000.0), hard, blank, wide, hard]).model_dump())
    assert windows(one.sidecar.display) == [(2000.0, 1000.0), hard]
    many = drawn(Augmentation(other_window=0.5), one)
    assert 0.4 < np.mean([variation.window for variation in many]) < 0.6
    by_hard = display_table(display(center=hard[0], width=hard[1]))
    assert np.array_equal(varied_table(one.sidecar.display, Variation(window=1)), by_hard)
    assert {variation.window for variation in drawn(Augmentation(), one)} == {0}
    useless = display(source="percentile", windows=[hard])
    assert windows(useless) == [(2000.0, 1000.0)]


def test_noise_is_added_to_the_input_and_not_to_the_targets() -> None:
    one = a_film()
    still, noisy = (
        view(ViewSpec(196, Augmentation(noise=strength), visible=0.25, predicted=0.5), one, "view", 3)
        for strength in (0.0, 1.0)
    )
    assert still.predicted is not None
    assert noisy.predicted is not None
    assert np.array_equal(still.predicted.values, noisy.predicted.values)
    assert np.array_equal(still.visible.coords, noisy.visible.coords)
    assert not np.array_equal(still.visible.values, noisy.visible.values)


def test_noise_has_the_deviation_that_was_drawn() -> None:
    grey = np.full((200, 200), 30_000, np.uint16)
    noisy = add_noise(grey, Variation(noise=0.02, noise_seed=1))
    assert noisy.std() == pytest.approx(0.02 * WHITE, rel=0.05)
    assert np.array_equal(noisy, add_noise(grey, Variation(noise=0.02, noise_seed=1)))
    assert add_noise(grey, Variation()) is grey
    plain = np.random.Generator(np.random.Philox(key=1)).standard_normal(grey.shape, dtype=np.float32)
    expected = np.rint(np.clip(grey + plain * np.float32(0.02 * WHITE), 0, WHITE)).astype(np.uint16)
    assert np.array_equal(noisy, expected)
    assert add_noise(np.full(1000, 65_500, np.uint16), Variation(noise=0.02)).min() > 50_000  # nothing wraps to black


def test_mirrored_content_follows_the_film() -> None:
    one = a_film(224, 224, body_part="PELVIS")
    flipped, straight = (view(ViewSpec(196, Augmentation(flip=flip)), one, "view") for flip in (1.0, 0.0))
    rows = flipped.visible.values.reshape(14, 14, 16, 16)[:, ::-1, :, ::-1].reshape(196, 256)
    assert np.array_equal(rows, straight.visible.values)


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"window": -0.1}, {"crop": (0.5, 0.2)}, {"jitter": 0.5}])
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Augmentation.model_validate(wrong)
