"""Films at a fixed scale: cut into whole patches without scaling, or scaled by their pixel spacing."""

import numpy as np
import pytest

from data_prep.shard_format.apply_display import display_table
from data_prep.shard_format.film_codec import decode_film
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.augmentation import Variation
from mae_rad.data.batch import ViewSpec
from mae_rad.data.box_frames import whole_film_frame
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.data.views import draw_view, whole_film
from tests.builders.shard_builder import film, noise

NATIVE = FilmScale(native=True)


def _film(rows: int, columns: int, scale: FilmScale = NATIVE, **fields: object) -> Film:
    stream, sidecar = film("one", noise(rows, columns))
    return Film(stream, Sidecar.model_validate(sidecar | fields), scale)


def _image(one: Film, patch: int) -> np.ndarray:
    patches, (down, across) = whole_film(one, 196, patch), one.layout(196, patch).grid
    blocks = patches.values.reshape(down, across, patch, patch).transpose(0, 2, 1, 3)
    return np.asarray(blocks.reshape(down * patch, across * patch))


@pytest.mark.parametrize("patch", [8, 16, 48, 64])
@pytest.mark.parametrize("shape", [(200, 331), (96, 48), (500, 64)])
def test_a_native_film_has_its_own_pixels_and_darkness_beyond_its_edges(patch: int, shape: tuple[int, int]) -> None:
    one = _film(*shape)
    image = _image(one, patch)
    assert image.shape == tuple(-(-side // patch) * patch for side in shape)
    stored = decode_film(one.stream, bits=one.sidecar.display.bits)
    assert np.array_equal(image[: shape[0], : shape[1]], display_table(one.sidecar.display)[stored])
    assert not image[shape[0] :].any()
    assert not image[:, shape[1] :].any()


def test_darkness_is_the_dark_end_of_an_inverted_display() -> None:
    one = _film(50, 50)
    display = one.sidecar.display.model_copy(update={"invert": True})
    inverted = Film(one.stream, one.sidecar.model_copy(update={"display": display}), NATIVE)
    assert not _image(inverted, 32)[50:].any()


def test_native_coordinates_are_indices_and_do_not_depend_on_the_size_of_the_film() -> None:
    small, large = (whole_film(_film(*shape), 196, 16) for shape in ((64, 48), (640, 480)))
    assert small.coords[:4].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    assert large.coords[:2].tolist() == [[0, 0], [0, 1]]
    assert small.size.tolist() == [4, 3]


@pytest.mark.parametrize(("spacing", "grid"), [(0.1, (10, 5)), (0.2, (20, 10)), (0.05, (5, 3))])
def test_a_patch_covers_the_same_anatomy_on_films_of_any_spacing(spacing: float, grid: tuple[int, int]) -> None:
    scale = FilmScale(mm_per_patch=3.2)
    one = _film(320, 160, scale, pixel_spacing_mm=(spacing, spacing))
    assert one.layout(196, 16).grid == grid
    frame = whole_film_frame(one, 196, 16)
    side = 32.0 / spacing  # ten patches
    assert np.allclose(frame.from_source(np.array([[0, 0, side, side]])), [[0, 0, 160, 160]])


def test_spacing_that_is_missing_or_impossible_counts_as_unknown() -> None:
    content = _film(320, 160, CONTENT_SCALE).layout(196, 16)
    for spacing in (None, (0.0, 0.1), (1.0, 1.0)):  # the last would enlarge the film five times
        one = _film(320, 160, FilmScale(mm_per_patch=3.2), pixel_spacing_mm=spacing)
        assert one.layout(196, 16) == content
        assert not one.is_left_out(16)
        assert Film(one.stream, one.sidecar, FilmScale(mm_per_patch=3.2, skips=True)).is_left_out(16)


def test_boxes_and_content_follow_a_film_with_darkness_beyond_its_edges() -> None:
    one = _film(100, 90)
    layout = one.layout(196, 16)
    frame = whole_film_frame(one, 196, 16)
    boxes = np.array([[10.0, 20, 60, 70]])
    scale = one.sidecar.source_rows / one.sidecar.rows
    assert np.allclose(frame.from_source(boxes * scale), boxes)
    assert one.content(layout).shape == layout.grid == (7, 6)
    mirrored = whole_film(one, 196, 16, Variation(mirrored=True))
    plain = _image(one, 16)
    seen = mirrored.values.reshape(7, 6, 16, 16).transpose(0, 2, 1, 3).reshape(112, 96)
    assert np.array_equal(seen, plain[:, ::-1])
    whole = whole_film(one, 196, 16)
    assert whole.content is not None
    assert mirrored.content is not None
    left, width, across = whole.content[1], whole.content[3], float(whole.size[1])
    assert mirrored.content[1] == pytest.approx(across - 1 - left - width)


def test_a_step_draws_fixed_budgets_from_films_of_any_size() -> None:
    spec = ViewSpec(tokens=64, visible=0.25, predicted=0.5)
    views = [draw_view(_film(*shape), spec, 48, np.random.default_rng(0)) for shape in ((400, 500), (900, 1300))]
    for view in views:
        assert view is not None
        assert view.predicted is not None
        assert (view.visible.values.shape, view.predicted.values.shape) == ((16, 48 * 48), (32, 48 * 48))
    assert draw_view(_film(280, 320), spec, 48, np.random.default_rng(0)) is None  # 42 patches, of 48
