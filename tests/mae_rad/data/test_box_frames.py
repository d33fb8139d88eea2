"""A box covers the same pixels in the source, in the shard and in the input of the model."""

import cv2
import numpy as np
import pytest

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.augmentation import Augmentation, draw_variation
from mae_rad.data.batch import ViewSpec
from mae_rad.data.box_frames import areas, box_frame, cut_off, frame_of_sizes, whole_film_frame
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, Region, film_layout
from mae_rad.data.views import draw_view, whole_film
from tests.builders.shard_builder import film

PATCH = 16


def planted(source, stored, box, seed=0, **fields):
    """A dark film with a bright box, drawn on the source raster and shrunk as the sharder does."""
    raster = np.random.default_rng(seed).integers(0, 200, size=source).astype(np.uint16)
    raster[box[1] : box[3], box[0] : box[2]] = 4000
    small = cv2.resize(raster, stored[::-1], interpolation=cv2.INTER_AREA)
    stream, sidecar = film("one", small, source_rows=source[0], source_columns=source[1], **fields)
    return Film(stream, Sidecar.model_validate(sidecar))


def image_of(patches, grid):
    rows, columns = grid
    values = np.asarray(patches.values).reshape(rows, columns, PATCH, PATCH)
    return values.transpose(0, 2, 1, 3).reshape(rows * PATCH, columns * PATCH)


def bright_box(image):
    """Edges of what is bright, with parts of pixels by how bright the edge pixels are."""
    share = image / image.max()
    across, down = share.max(axis=0), share.max(axis=1)

    def edges(line):
        places = np.flatnonzero(line > 0.1)
        return places[0] + 1 - line[places[0]], places[-1] + line[places[-1]]

    (left, right), (top, low) = edges(across), edges(down)
    return np.array([[left, top, right, low]])


@pytest.mark.parametrize(
    ("source", "stored"), [((1000, 800), (1000, 800)), ((1800, 1200), (900, 600)), ((700, 1500), (350, 500))]
)
def test_a_mapped_box_is_where_its_object_is_displayed(source, stored):
    box = np.array([[400.0, 300, 520, 360]])
    one = planted(source, stored, box[0].astype(int))
    layout = film_layout(*stored, one.box, 1024, PATCH)
    frame = whole_film_frame(one, 1024, PATCH)
    seen = image_of(whole_film(one, 1024, PATCH), layout.grid)
    np.testing.assert_allclose(frame.from_source(box), bright_box(seen), atol=1.0)
    assert frame.size == seen.shape[::-1]


def test_a_mirrored_view_mirrors_its_boxes():
    box = np.array([[100.0, 300, 180, 420]])
    one = planted((800, 640), (800, 640), box[0].astype(int), body_part="SKULL")
    spec = ViewSpec(tokens=256, augmentation=Augmentation(flip=1.0))
    drawn = draw_view(one, spec, PATCH, np.random.default_rng(0))
    layout = film_layout(800, 640, one.box, 256, PATCH)
    assert draw_variation(spec.augmentation, one.sidecar, np.random.default_rng(0)).mirrored
    frame = box_frame(one.sidecar, layout, PATCH, mirrored=True)
    np.testing.assert_allclose(frame.from_source(box), bright_box(image_of(drawn.visible, layout.grid)), atol=1.0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_there_and_back_again_is_the_same_box(seed, mirrored):
    random = np.random.default_rng(seed)
    source = (int(random.integers(500, 4000)), int(random.integers(500, 4000)))
    stored = (max(1, source[0] // 3), max(1, source[1] // 2))
    region = Region(0.2 * stored[0], 0.1 * stored[1], 0.7 * stored[0], 0.8 * stored[1])
    frame = frame_of_sizes(stored, source, Layout(region, (20, 31), 1.0), PATCH, mirrored=mirrored)
    boxes = np.sort(random.uniform(0.25, 0.75, (40, 2, 2)), axis=1).reshape(40, 4) * np.tile(source[::-1], 2)
    np.testing.assert_allclose(frame.to_source(frame.from_source(boxes)), boxes, rtol=1e-9)
    assert (areas(frame.from_source(boxes)) > 0).all()
    seen = np.array([[0.0, 0, *frame.size]])
    np.testing.assert_allclose(frame.from_source(frame.to_source(seen)), seen, atol=1e-9)


def test_predictions_beyond_the_edge_end_at_the_edge_of_the_film():
    frame = frame_of_sizes((500, 400), (1000, 800), Layout(Region(0, 0, 500, 400), (32, 26), 1.0), PATCH)
    everything = frame.to_source(np.array([[-50.0, -10, 1e4, 1e4]]))
    assert everything.tolist() == [[0, 0, 800, 1000]]


def test_a_clipped_box_has_the_share_of_its_area_that_remains():
    boxes = np.array([[-10.0, 0, 10, 20], [5, 5, 15, 15], [90, 40, 110, 80], [200, 200, 210, 210]])
    inside, share = cut_off(boxes, (100, 60))
    assert inside.tolist() == [[0, 0, 10, 20], [5, 5, 15, 15], [90, 40, 100, 60], [100, 60, 100, 60]]
    assert share.tolist() == [0.5, 1.0, 0.25, 0.0]
