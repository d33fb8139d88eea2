"""Renders a film from its draw: body, findings, marker, collimation, detector, processing, stored values."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.anatomy import chest, elbow, foot, hand, knee, skull, spine, trunk
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.difficulty import HARD, Difficulty
from data_prep.phantom.finding_placement import ExposureModel, plant_fracture, plant_fracture_at, plant_object
from data_prep.phantom.fracture_site import PLAN_SIDE, FractureSite, choose_site
from data_prep.phantom.imaging.detector import collimated, exposed, processed, scattered
from data_prep.phantom.imaging.projection import Beam, Map
from data_prep.phantom.imaging.scanners import Look
from data_prep.phantom.imaging.scene import Scene, bone_map, grain_tile, tissue_map
from data_prep.phantom.imaging.side_marker import add_marker
from data_prep.phantom.planted_findings import MAX_ENLARGEMENT, Planted, training_scale
from data_prep.phantom.random_draws import FilmDraw, FindingDraw, StudyDraw

_GRAIN = grain_tile(20)
_SCENES = {
    "HAND": hand.hand, "WRIST": hand.wrist, "KNEE": knee.knee, "CHEST": chest.chest, "ELBOW": elbow.elbow,
    "FOOT": foot.foot, "ANKLE": foot.ankle, "CSPINE": spine.cervical_spine, "LSPINE": spine.lumbar_spine,
    "SKULL": skull.skull,
}  # fmt: skip
"""Body part → its scene; parts of the trunk are in :mod:`data_prep.phantom.anatomy.trunk`."""
_NOT_MIRRORED = frozenset(("CHEST", "CSPINE", "LSPINE", "SKULL")) | trunk.NAMES
_MIN_SKIN_ATTENUATION = 0.02
"""Least attenuation of the surface tissues of a pixel in the body."""
_SCATTER_REACH_FRACTION = 0.09
"""Reach of scattered radiation, as a fraction of the longer side of the film."""


@dataclass(frozen=True)
class RenderedFilm:
    """A rendered film.

    Attributes:
        stored: [rows, columns] stored values with the bits of the scanner.
        log_film: [rows, columns] ln(open beam / detected) with noise, before processing.
        body: [rows, columns] True for the body in the field.
        window: centre and width in modality values (after slope and intercept).
        pitch: mm per pixel.
        scale: pixels at T = 1024 per pixel.
        energy: tube voltage, kVp.
        objects: planted objects.
        fracture: the planted fracture, if any.
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
    anatomy: Anatomy,
    study: StudyDraw,
    draw: FilmDraw,
    *,
    long_side: int | None = None,
    look: Look | None = None,
    level: Difficulty = HARD,
) -> RenderedFilm:
    """Render a film.

    Args:
        anatomy: anatomy of the patient.
        study: draws of the study.
        draw: draws of the film.
        long_side: longer side, pixels; by default that of the scanner.
        look: scanner; by default that of the study.
        level: difficulty of the archive.
    """
    look = look or study.scanner
    scene = _make_scene(anatomy, study, draw)
    beam, shape = _make_beam(scene, study, draw, long_side or look.long_side)
    field = _field_mask(shape, draw)
    skin = tissue_map(scene.skin, beam, *shape)
    body = (skin > _MIN_SKIN_ATTENUATION) & (field > 0.5)
    attenuation = skin + tissue_map(scene.inner, beam, *shape)
    bones = [bone_map(bone, beam, *shape, _GRAIN) for bone in scene.bones]
    for bone_attenuation, (top, left) in bones:
        attenuation[top : top + bone_attenuation.shape[0], left : left + bone_attenuation.shape[1]] += bone_attenuation
    np.maximum(attenuation, 0, out=attenuation)
    scatter = scattered(attenuation, scene.scatter, _SCATTER_REACH_FRACTION * max(shape))
    training = training_scale(body, math.inf if level.keeps_positions else MAX_ENLARGEMENT)
    exposure = ExposureModel(scatter, look.quanta * draw.exposure * level.dose, look.blur, training, level)
    fracture = None
    if draw.fracture and level.keeps_positions:
        place = _plan_fracture(scene, study, draw, draw.fracture, level)
        fracture = plant_fracture_at(attenuation, scene, beam, bones, place, draw.fracture, exposure)
    elif draw.fracture:
        fracture = plant_fracture(attenuation, scene, beam, bones, field, draw.fracture, exposure)
    objects = tuple(plant_object(attenuation, body, field, finding, exposure) for finding in draw.objects)
    if draw.marker:
        frontal_chest = study.body_part == "CHEST" and draw.view == "PA"
        add_marker(attenuation, skin, field, study.side, draw.marker, on_own_side=frontal_chest)
    noise = np.random.Generator(np.random.SFC64(draw.seed)).standard_normal(shape, dtype=np.float32)
    behind_lead = scatter * np.maximum(field, 0.05)
    log_film = exposed(collimated(attenuation, field), behind_lead, exposure.quanta, look.blur, noise)
    stored, window = _to_stored_values(processed(log_film, look, field), look, body, field, draw.inverted)
    return RenderedFilm(stored, log_film, body, window, 1 / beam.scale, exposure.scale, scene.energy, objects, fracture)


def _make_scene(anatomy: Anatomy, study: StudyDraw, draw: FilmDraw) -> Scene:
    if study.body_part in trunk.NAMES:
        return trunk.part_of_trunk(anatomy, study.body_part, draw.view, draw.obliquity, study.side)
    return _SCENES[study.body_part](anatomy, draw.view, draw.obliquity)


def _plan_fracture(
    scene: Scene, study: StudyDraw, draw: FilmDraw, finding: FindingDraw, level: Difficulty
) -> FractureSite:
    """Choose the site of a fracture on a raster that does not depend on the detector."""
    beam, shape = _make_beam(scene, study, draw, PLAN_SIDE)
    field = _field_mask(shape, draw)
    body = (tissue_map(scene.skin, beam, *shape) > _MIN_SKIN_ATTENUATION) & (field > 0.5)
    return choose_site(scene, beam, field, training_scale(body, math.inf), finding, level)


def _make_beam(scene: Scene, study: StudyDraw, draw: FilmDraw, long_side: int) -> tuple[Beam, tuple[int, int]]:
    left, bottom, right, top = scene.field
    margins = draw.margins or (0.0, 0.0, 0.0, 0.0)
    wide = (right - left) * (1 + margins[0] + margins[2])
    high = (top - bottom) * (1 + margins[1] + margins[3])
    scale = long_side / max(wide, high)
    rows, columns = max(1, round(high * scale)), max(1, round(wide * scale))
    mirrored = study.body_part not in _NOT_MIRRORED and study.side == "R"
    pose = scene.pose @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    zoom = scale * draw.zoom
    centre = ((left + right) / 2 * (-1 if mirrored and draw.view in ("PA", "AP") else 1), (bottom + top) / 2)
    x = (0.5 + (margins[0] - margins[2]) / 2 + draw.shift[0]) * columns - centre[0] * zoom
    y = (0.5 + (margins[1] - margins[3]) / 2 + draw.shift[1]) * rows + centre[1] * zoom
    return Beam(pose, draw.rotation, zoom, (x, y)), (rows, columns)


def _field_mask(shape: tuple[int, int], draw: FilmDraw) -> Map:
    """[shape] 1 in the collimated field, 0 outside, with soft edges of the blades."""
    if draw.margins is None:
        return np.ones(shape, dtype=np.float32)
    rows, columns = shape
    left, top, right, bottom = draw.margins
    x, y = (left * columns, (1 - right) * columns), (top * rows, (1 - bottom) * rows)
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
    c, s = np.cos(draw.field_turn), np.sin(draw.field_turn)
    middle = np.array([columns / 2, rows / 2])
    rotated = (corners - middle) @ np.array([[c, s], [-s, c]]) + middle
    mask = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(rotated * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.6), dtype=np.float32) / np.float32(255)


def _to_stored_values(
    film: Map, look: Look, body: NDArray[np.bool_], field: Map, inverted: bool
) -> tuple[NDArray[np.uint16], tuple[float, float]]:
    """Stored values, and (centre, width) in modality values of the window that displays the body."""
    top = 2**look.bits - 1
    sample = film[::4, ::4]
    body_values = sample[body[::4, ::4]] if body[::4, ::4].any() else sample.ravel()
    dark, bright = (float(v) for v in np.percentile(body_values, (2, 99.7)))
    darkest = min(float(np.percentile(sample, 1)), dark)
    spread = max(bright - darkest, 0.1)
    low, high = darkest - look.headroom[0] * spread, bright + look.headroom[1] * spread
    values = (film - np.float32(low)) * np.float32(top / (high - low))
    if look.shutter:
        values[field < 0.5] = 0
    window = np.array([dark, bright + 0.04 * (bright - dark)])
    window = (window - low) * top / (high - low)
    if inverted:
        np.subtract(np.float32(top), values, out=values)
        window = top - window[::-1]
    centre, width = float(window.mean()), float(window[1] - window[0])
    if look.function == "SIGMOID":
        width *= 0.62  # the ends of a sigmoid are flat
    stored = np.clip(np.rint(values), 0, top).astype(np.uint16)
    return stored, (centre * look.slope + look.intercept, max(width * look.slope, 1.0))
