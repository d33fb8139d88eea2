"""One film from its draw: body, findings, marker, collimation, detector, processing, stored values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom import chest, hand, knee
from data_prep.phantom.anatomy import Anatomy
from data_prep.phantom.bodies import Beam, Map
from data_prep.phantom.detector import collimated, exposed, processed, scattered
from data_prep.phantom.draws import OBJECT_SIZE, FilmDraw, FindingDraw, StudyDraw
from data_prep.phantom.findings import (
    Box,
    Planted,
    around,
    broken,
    contrast_to_noise,
    draw_break,
    solve_amplitude,
    training_scale,
)
from data_prep.phantom.looks import LOOKS, Look
from data_prep.phantom.marker import add_marker
from data_prep.phantom.objects import draw_object
from data_prep.phantom.scene import Bone, Scene, Site, bone_map, grain_tile, site, tissue_map

_GRAIN = grain_tile(20)
_SCENES = {"HAND": hand.hand, "WRIST": hand.wrist, "KNEE": knee.knee, "CHEST": chest.chest}
_SKIN = 0.02
"""Attenuation of the skin tissues from which on a pixel is body."""
_SITES_TRIED, _DRAWS = 14, 1000
_DENSEST = 6.0
_PLACE_STEP = 4


@dataclass(frozen=True)
class Film:
    """A finished film.

    Attributes:
        stored: [rows, columns] stored values, ``look.bits`` significant.
        unprocessed: [rows, columns] float32 detector signal, open beam 1.
        log_film: [rows, columns] float32 ln(open beam / detected) with noise, before processing.
        window: centre and width in modality values (after slope and intercept).
        pitch: mm per pixel.
        scale: pixels at T = 1024 per pixel.
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


def render(anatomy: Anatomy, study: StudyDraw, draw: FilmDraw, *, long_side: int | None = None) -> Film:
    """The film of ``draw``; ``long_side`` replaces the scanner's number of pixels (tests take small films)."""
    look = LOOKS[study.look]
    scene = _SCENES[study.body_part](anatomy, draw.view, draw.obliquity)
    beam, shape = _beam(scene, study, draw, long_side or look.long_side)
    inside = _field(shape, draw)
    skin = tissue_map(scene.skin, beam, *shape)
    body = (skin > _SKIN) & (inside > 0.5)
    scale = training_scale(body)
    attenuation = skin + tissue_map(scene.inner, beam, *shape)
    drawn = [bone_map(bone, beam, *shape, _GRAIN) for bone in scene.bones]
    for piece, corner in drawn:
        attenuation[_at(piece, corner)] += piece
    np.maximum(attenuation, 0, out=attenuation)
    bench = _Bench(look, draw, scattered(attenuation, scene.scatter, 0.09 * max(shape)), scale)
    fracture = _plant_fracture(attenuation, scene, beam, drawn, body, draw.fracture, bench) if draw.fracture else None
    objects = tuple(_plant_object(attenuation, body, inside, finding, bench) for finding in draw.objects)
    if draw.marker:
        add_marker(attenuation, skin, inside, study.side, draw.marker, beside=draw.view == "PA" and study.body_part == "CHEST")
    noise = np.random.Generator(np.random.SFC64(draw.seed)).standard_normal(shape, dtype=np.float32)
    attenuation = collimated(attenuation, inside)
    log_film = exposed(attenuation, bench.scatter * np.maximum(inside, 0.05), bench.quanta, look.blur, noise)
    stored, window = _stored(processed(log_film, look, inside), look, body, inside, draw.inverted)
    return Film(stored, log_film, body, window, 1 / beam.scale, scale, scene.energy, objects, fracture)


@dataclass(frozen=True)
class _Bench:
    """What is needed to measure a finding."""

    look: Look
    draw: FilmDraw
    scatter: Map
    scale: float

    @property
    def quanta(self) -> float:
        return self.look.quanta * self.draw.exposure

    def ratio(self, without: Map, with_it: Map, weight: Map, cut: tuple[slice, slice], noise: Map) -> float:
        scatter, blur = self.scatter[cut], self.look.blur
        clean = exposed(without, scatter, self.quanta, blur, None)
        changed = exposed(with_it, scatter, self.quanta, blur, None)
        return contrast_to_noise(clean, changed, exposed(without, scatter, self.quanta, blur, noise), weight, self.scale)


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
    corners = np.array(
        [(left * columns, top * rows), ((1 - right) * columns, top * rows), ((1 - right) * columns, (1 - bottom) * rows),
         (left * columns, (1 - bottom) * rows)]
    )  # fmt: skip
    c, s = np.cos(draw.field_turn), np.sin(draw.field_turn)
    middle = np.array([columns / 2, rows / 2])
    turned = (corners - middle) @ np.array([[c, s], [-s, c]]) + middle
    mask = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(turned * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.6), dtype=np.float32) / np.float32(255)


def _plant_object(
    attenuation: Map, body: NDArray[np.bool_], inside: Map, finding: FindingDraw, bench: _Bench
) -> Planted:
    draw = np.random.default_rng(finding.seed)
    low, high = (size / bench.scale for size in OBJECT_SIZE)
    pixels = min(max(round(finding.size / bench.scale), math.ceil(low)), math.floor(high))
    shape = draw_object(finding.kind, pixels, finding.angle, draw)
    x, y = _place(body, inside, finding.place, shape.shape)
    box = (float(x), float(y), float(x + shape.shape[1]), float(y + shape.shape[0]))
    window = around(box, bench.scale, body.shape)
    cut = window.cut()
    weight = np.zeros((window.rows, window.columns), dtype=np.float32)
    weight[y - window.top :, x - window.left :][: shape.shape[0], : shape.shape[1]] = shape
    without = attenuation[cut].copy()
    noise = draw.standard_normal(without.shape, dtype=np.float32)
    amplitude, reached = solve_amplitude(
        lambda a: bench.ratio(without, without + np.float32(a) * weight, weight, cut, noise),
        finding.contrast_to_noise,
        _DENSEST,
    )
    attenuation[cut] = without + np.float32(amplitude) * weight
    return Planted(finding.kind, box, max(shape.shape) * bench.scale, reached, amplitude)


def _place(body: NDArray[np.bool_], inside: Map, place: float, shape: tuple[int, ...]) -> tuple[int, int]:
    """Upper left corner (x, y) of an object whose middle lies on the body and which lies in the field."""
    half = (shape[0] // 2 + 2, shape[1] // 2 + 2)
    kernel = np.ones((2 * half[0] // _PLACE_STEP + 1, 2 * half[1] // _PLACE_STEP + 1), dtype=np.uint8)
    open_field = (inside[::_PLACE_STEP, ::_PLACE_STEP] > 0.99).astype(np.uint8)
    free = cv2.erode(open_field, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    spots = np.flatnonzero(free & body[::_PLACE_STEP, ::_PLACE_STEP])
    if spots.size == 0:
        raise ValueError("no place on the body in the field is large enough for the object")
    row, column = np.unravel_index(spots[int(place * spots.size)], free.shape)
    return int(column) * _PLACE_STEP - shape[1] // 2, int(row) * _PLACE_STEP - shape[0] // 2


def _plant_fracture(
    attenuation: Map,
    scene: Scene,
    beam: Beam,
    drawn: Sequence[tuple[Map, tuple[int, int]]],
    body: NDArray[np.bool_],
    finding: FindingDraw,
    bench: _Bench,
) -> Planted:
    """Break the first of some drawn sites where the bone is dense enough for the wanted contrast, else the best.

    With each attempt the gap is drawn wider.
    """
    draw = np.random.default_rng(finding.seed)
    best: tuple[Planted, tuple[slice, slice], Map] | None = None
    for attempt, (index, place) in enumerate(_sites(scene, beam, body, draw, bench.scale)):
        tried = _broken_at(attenuation, drawn[index], place, finding, bench, draw, 1 + 0.1 * attempt)
        if best is None or tried[0].contrast_to_noise > best[0].contrast_to_noise:
            best = tried
        if best[0].contrast_to_noise >= finding.contrast_to_noise * 0.98:
            break
    if best is None:
        raise ValueError("no bone in the field to break")
    attenuation[best[1]] = best[2]
    return best[0]


def _sites(
    scene: Scene, beam: Beam, body: NDArray[np.bool_], draw: np.random.Generator, scale: float
) -> list[tuple[int, Site]]:
    """Places on breakable bones, well inside the body in the field."""
    breakable = [k for k, bone in enumerate(scene.bones) if bone.breakable]
    chosen: list[tuple[int, Site]] = []
    edge = int(12 / scale)
    for _ in range(_DRAWS):
        index = breakable[int(draw.integers(len(breakable)))]
        place = site(scene.bones[index], beam, float(draw.uniform(0.12, 0.88)))
        row, column = int(place.y), int(place.x)
        if edge <= row < body.shape[0] - edge and edge <= column < body.shape[1] - edge and body[row, column]:
            chosen.append((index, place))
        if len(chosen) == _SITES_TRIED:
            break
    return chosen


def _broken_at(
    attenuation: Map,
    drawn: tuple[Map, tuple[int, int]],
    place: Site,
    finding: FindingDraw,
    bench: _Bench,
    draw: np.random.Generator,
    gaping: float,
) -> tuple[Planted, tuple[slice, slice], Map]:
    whole, (top, left) = drawn
    length = max(finding.size - 3, 3.5) / bench.scale
    local = Site(place.x - left, place.y - top, place.axis, place.half_width)
    crack = draw_break(whole.shape, local, length, bench.scale, draw, gaping)
    box = (crack.box[0] + left, crack.box[1] + top, crack.box[2] + left, crack.box[3] + top)
    window = around(box, bench.scale, attenuation.shape)
    cut = window.cut()
    without = attenuation[cut]
    weight = _framed(crack.line, (top, left), cut)
    noise = draw.standard_normal(without.shape, dtype=np.float32)

    def changed(amplitude: float) -> Map:
        difference = broken(whole, crack, amplitude) - whole
        return np.asarray(without + _framed(difference, (top, left), cut))

    amplitude, reached = solve_amplitude(
        lambda a: bench.ratio(without, changed(a), weight, cut, noise), finding.contrast_to_noise, 1.0
    )
    size = max(box[2] - box[0], box[3] - box[1]) * bench.scale
    return Planted("fracture", box, size, reached, amplitude), cut, changed(amplitude)


def _framed(piece: Map, corner: tuple[int, int], cut: tuple[slice, slice]) -> Map:
    """What of ``piece`` (its corner at film row, column) lies in the window ``cut``, zero elsewhere."""
    out = np.zeros((cut[0].stop - cut[0].start, cut[1].stop - cut[1].start), dtype=np.float32)
    top, left = corner[0] - cut[0].start, corner[1] - cut[1].start
    rows = slice(max(top, 0), min(top + piece.shape[0], out.shape[0]))
    columns = slice(max(left, 0), min(left + piece.shape[1], out.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        out[rows, columns] = piece[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out


def _at(piece: Map, corner: tuple[int, int]) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + piece.shape[0]), slice(corner[1], corner[1] + piece.shape[1])


def _stored(
    film: Map, look: Look, body: NDArray[np.bool_], inside: Map, inverted: bool
) -> tuple[NDArray[np.uint16], tuple[float, float]]:
    """Stored values and the window (modality values) that shows the body."""
    top = 2**look.bits - 1
    sample = film[::4, ::4]
    seen = sample[body[::4, ::4]] if body[::4, ::4].any() else sample.ravel()
    dark, bright = (float(v) for v in np.percentile(seen, (0.5, 99.7)))
    darkest = min(float(np.percentile(sample, 1)), dark)
    spread = max(bright - darkest, 0.1)
    low, high = darkest - look.headroom[0] * spread, bright + look.headroom[1] * spread
    values = (film - np.float32(low)) * np.float32(top / (high - low))
    if look.shutter:
        values[inside < 0.5] = 0
    window = np.array([dark - 0.06 * (bright - dark), bright + 0.04 * (bright - dark)])
    window = (window - low) * top / (high - low)
    if inverted:
        np.subtract(np.float32(top), values, out=values)
        window = top - window[::-1]
    centre, width = float(window.mean()), float(window[1] - window[0])
    if look.function == "SIGMOID":
        width *= 0.8  # the S of the sigmoid is flatter at its ends
    stored = np.clip(np.rint(values), 0, top).astype(np.uint16)
    return stored, (centre * look.slope + look.intercept, max(width * look.slope, 1.0))
