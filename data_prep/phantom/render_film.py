"""One film from its draw: body, findings, marker, collimation, detector, processing, stored values."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.anatomy import chest, hand, knee
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.finding_placement import Bench, plant_fracture, plant_object
from data_prep.phantom.imaging.detector import collimated, exposed, processed, scattered
from data_prep.phantom.imaging.projection import Beam, Map
from data_prep.phantom.imaging.scanners import LOOKS, Look
from data_prep.phantom.imaging.scene import Scene, bone_map, grain_tile, tissue_map
from data_prep.phantom.imaging.side_marker import add_marker
from data_prep.phantom.planted_findings import Planted, training_scale
from data_prep.phantom.random_draws import FilmDraw, StudyDraw

_GRAIN = grain_tile(20)
_SCENES = {"HAND": hand.hand, "WRIST": hand.wrist, "KNEE": knee.knee, "CHEST": chest.chest}
_SKIN = 0.02
"""Attenuation of the skin tissues from which on a pixel is body."""
_SCATTER_REACH = 0.09
"""Of scattered radiation, in parts of the film's longer side."""


@dataclass(frozen=True)
class RenderedFilm:
    """A finished film.

    Attributes:
        stored: [rows, columns] stored values, ``look.bits`` significant.
        log_film: [rows, columns] ln(open beam / detected) with noise, before processing.
        body: [rows, columns] the body inside the field.
        window: centre and width in modality values (after slope and intercept).
        pitch: mm per pixel.
        scale: pixels at T = 1024 per pixel.
        energy: tube voltage, kVp.
    """

    stored: NDArray[np.uint16]
    log_film: Map
    body: NDArray[np.bool_]
    window: tuple[float, float]
    pitch: float
    scale: float
    energy: int
    objects: tuple[Planted, ...]
    fracture: Planted | None


def render(
    anatomy: Anatomy, study: StudyDraw, draw: FilmDraw, *, long_side: int | None = None, look: Look | None = None
) -> RenderedFilm:
    """The film of ``draw``; ``long_side`` and ``look`` replace the scanner's own (tests take small films)."""
    look = look or LOOKS[study.look]
    scene = _SCENES[study.body_part](anatomy, draw.view, draw.obliquity)
    beam, shape = _beam(scene, study, draw, long_side or look.long_side)
    inside = _field(shape, draw)
    skin = tissue_map(scene.skin, beam, *shape)
    body = (skin > _SKIN) & (inside > 0.5)
    attenuation = skin + tissue_map(scene.inner, beam, *shape)
    bones = [bone_map(bone, beam, *shape, _GRAIN) for bone in scene.bones]
    for piece, (top, left) in bones:
        attenuation[top : top + piece.shape[0], left : left + piece.shape[1]] += piece
    np.maximum(attenuation, 0, out=attenuation)
    scatter = scattered(attenuation, scene.scatter, _SCATTER_REACH * max(shape))
    bench = Bench(scatter, look.quanta * draw.exposure, look.blur, training_scale(body))
    fracture = None
    if draw.fracture:
        fracture = plant_fracture(attenuation, scene, beam, bones, inside, draw.fracture, bench)
    objects = tuple(plant_object(attenuation, body, inside, finding, bench) for finding in draw.objects)
    if draw.marker:
        frontal_chest = study.body_part == "CHEST" and draw.view == "PA"
        add_marker(attenuation, skin, inside, study.side, draw.marker, beside=frontal_chest)
    noise = np.random.Generator(np.random.SFC64(draw.seed)).standard_normal(shape, dtype=np.float32)
    behind_lead = scatter * np.maximum(inside, 0.05)
    log_film = exposed(collimated(attenuation, inside), behind_lead, bench.quanta, look.blur, noise)
    stored, window = _stored(processed(log_film, look, inside), look, body, inside, draw.inverted)
    return RenderedFilm(stored, log_film, body, window, 1 / beam.scale, bench.scale, scene.energy, objects, fracture)


def _beam(scene: Scene, study: StudyDraw, draw: FilmDraw, long_side: int) -> tuple[Beam, tuple[int, int]]:
    left, bottom, right, top = scene.field
    margins = draw.margins or (0.0, 0.0, 0.0, 0.0)
    wide = (right - left) * (1 + margins[0] + margins[2])
    high = (top - bottom) * (1 + margins[1] + margins[3])
    scale = long_side / max(wide, high)
    rows, columns = max(1, round(high * scale)), max(1, round(wide * scale))
    mirrored = study.body_part != "CHEST" and study.side == "R"
    pose = scene.pose @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    zoom = scale * draw.zoom
    centre = ((left + right) / 2 * (-1 if mirrored and draw.view in ("PA", "AP") else 1), (bottom + top) / 2)
    x = (0.5 + (margins[0] - margins[2]) / 2 + draw.shift[0]) * columns - centre[0] * zoom
    y = (0.5 + (margins[1] - margins[3]) / 2 + draw.shift[1]) * rows + centre[1] * zoom
    return Beam(pose, draw.rotation, zoom, (x, y)), (rows, columns)


def _field(shape: tuple[int, int], draw: FilmDraw) -> Map:
    """1 in the collimated field, 0 outside, with the soft edge of the collimator's blades."""
    if draw.margins is None:
        return np.ones(shape, dtype=np.float32)
    rows, columns = shape
    left, top, right, bottom = draw.margins
    x, y = (left * columns, (1 - right) * columns), (top * rows, (1 - bottom) * rows)
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
    c, s = np.cos(draw.field_turn), np.sin(draw.field_turn)
    middle = np.array([columns / 2, rows / 2])
    turned = (corners - middle) @ np.array([[c, s], [-s, c]]) + middle
    mask = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(turned * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.6), dtype=np.float32) / np.float32(255)


def _stored(
    film: Map, look: Look, body: NDArray[np.bool_], inside: Map, inverted: bool
) -> tuple[NDArray[np.uint16], tuple[float, float]]:
    """Stored values and the window (modality values) that shows the body."""
    top = 2**look.bits - 1
    sample = film[::4, ::4]
    seen = sample[body[::4, ::4]] if body[::4, ::4].any() else sample.ravel()
    dark, bright = (float(v) for v in np.percentile(seen, (2, 99.7)))
    darkest = min(float(np.percentile(sample, 1)), dark)
    spread = max(bright - darkest, 0.1)
    low, high = darkest - look.headroom[0] * spread, bright + look.headroom[1] * spread
    values = (film - np.float32(low)) * np.float32(top / (high - low))
    if look.shutter:
        values[inside < 0.5] = 0
    window = np.array([dark, bright + 0.04 * (bright - dark)])
    window = (window - low) * top / (high - low)
    if inverted:
        np.subtract(np.float32(top), values, out=values)
        window = top - window[::-1]
    centre, width = float(window.mean()), float(window[1] - window[0])
    if look.function == "SIGMOID":
        width *= 0.62  # the ends of the S are flat: black and white are reached slowly
    stored = np.clip(np.rint(values), 0, top).astype(np.uint16)
    return stored, (centre * look.slope + look.intercept, max(width * look.slope, 1.0))
