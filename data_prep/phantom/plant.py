"""Where findings go: a free place on the body for an object, a bone that can show the wanted contrast for a fracture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.beam import Beam, Map
from data_prep.phantom.detector import exposed
from data_prep.phantom.draws import OBJECT_SIZE, FindingDraw
from data_prep.phantom.findings import Planted, around, broken, contrast_to_noise, draw_break, solve_amplitude
from data_prep.phantom.objects import draw_object
from data_prep.phantom.scene import Scene, Site, site

_SITES, _DRAWS = 14, 1000
"""Sites on bones that are tried, and draws to find that many."""
_EDGE = 12
"""Pixels at T = 1024 from a site to the film's edge."""
_DENSEST = 6.0
"""Attenuation of an object."""
_PLACE_STEP = 4

_Cut = tuple[slice, slice]


@dataclass(frozen=True)
class Bench:
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
        return contrast_to_noise(
            clean, changed, exposed(without, scatter, self.quanta, blur, noise), weight, self.scale
        )


def plant_object(attenuation: Map, body: NDArray[np.bool_], inside: Map, finding: FindingDraw, bench: Bench) -> Planted:
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


def plant_fracture(
    attenuation: Map,
    scene: Scene,
    beam: Beam,
    drawn: Sequence[tuple[Map, tuple[int, int]]],
    body: NDArray[np.bool_],
    finding: FindingDraw,
    bench: Bench,
) -> Planted:
    """Break the first of some drawn sites where the bone is dense enough for the wanted contrast, else the best.

    With each attempt the gap is drawn wider.
    """
    draw = np.random.default_rng(finding.seed)
    best: tuple[Planted, _Cut, Map] | None = None
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
    edge = int(_EDGE / scale)
    for _ in range(_DRAWS):
        index = breakable[int(draw.integers(len(breakable)))]
        place = site(scene.bones[index], beam, float(draw.uniform(0.12, 0.88)))
        row, column = int(place.y), int(place.x)
        if edge <= row < body.shape[0] - edge and edge <= column < body.shape[1] - edge and body[row, column]:
            chosen.append((index, place))
        if len(chosen) == _SITES:
            break
    return chosen


def _broken_at(
    attenuation: Map,
    drawn: tuple[Map, tuple[int, int]],
    place: Site,
    finding: FindingDraw,
    bench: Bench,
    draw: np.random.Generator,
    gaping: float,
) -> tuple[Planted, _Cut, Map]:
    whole, (top, left) = drawn
    length = 0.9 * max(finding.size - 3, 4) / bench.scale
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


def _framed(piece: Map, corner: tuple[int, int], cut: _Cut) -> Map:
    """What of ``piece`` (its corner at film row, column) lies in the window ``cut``, zero elsewhere."""
    out = np.zeros((cut[0].stop - cut[0].start, cut[1].stop - cut[1].start), dtype=np.float32)
    top, left = corner[0] - cut[0].start, corner[1] - cut[1].start
    rows = slice(max(top, 0), min(top + piece.shape[0], out.shape[0]))
    columns = slice(max(left, 0), min(left + piece.shape[1], out.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        out[rows, columns] = piece[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out
