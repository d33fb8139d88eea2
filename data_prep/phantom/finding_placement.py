"""Where findings go: an object to a free place on the body, a fracture to a bone that can show its contrast."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.foreign_objects import draw_object
from data_prep.phantom.imaging.detector import exposed
from data_prep.phantom.imaging.projection import Beam, Map
from data_prep.phantom.imaging.scene import Scene, Site, site
from data_prep.phantom.planted_findings import (
    BREAK_PAD,
    Box,
    Break,
    Planted,
    around,
    broken,
    contrast_to_noise,
    draw_break,
    solve_amplitude,
)
from data_prep.phantom.random_draws import CONTRAST_TO_NOISE, FRACTURE_SIZE, OBJECT_SIZE, FindingDraw

_SITES, _MOST_SITES, _DRAWS = 14, 56, 2000
"""Sites on bones that are tried for the wanted contrast, for any promised one, and draws to find that many."""
_LINE_IN_BOX = 0.9
"""The line may be jagged by this and still keep within the box of the drawn size."""
_DENSEST = 6.0
"""Attenuation of an object."""
_PLACE_STEP = 4

_Cut = tuple[slice, slice]


@dataclass(frozen=True)
class Bench:
    """The exposure under which a finding's contrast is measured.

    Attributes:
        scatter: [rows, columns] scattered radiation, open beam 1.
        quanta: detected per pixel in the open beam.
        blur: standard deviation of the point spread, pixels.
        scale: pixels at T = 1024 per pixel.
    """

    scatter: Map
    quanta: float
    blur: float
    scale: float

    def ratio(self, without: Map, with_it: Map, weight: Map, cut: _Cut, noise: Map) -> float:
        """Contrast-to-noise ratio of two attenuation maps of the part ``cut`` of the film."""
        clean, changed, noisy = (
            exposed(attenuation, self.scatter[cut], self.quanta, self.blur, drawn)
            for attenuation, drawn in ((without, None), (with_it, None), (without, noise))
        )
        return contrast_to_noise(clean, changed, noisy, weight, self.scale)


def plant_object(attenuation: Map, body: NDArray[np.bool_], inside: Map, finding: FindingDraw, bench: Bench) -> Planted:
    """Put an object on the body, into ``attenuation`` [rows, columns] in place.

    Args:
        body, inside: [rows, columns] the body in the field, and the field from 0 to 1.
    """
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
    inside: Map,
    finding: FindingDraw,
    bench: Bench,
) -> Planted:
    """Break the first of some drawn sites where the bone is dense enough for the wanted contrast, else the best.

    With each attempt the gap is drawn wider. ``attenuation`` [rows, columns] changes in place.

    Args:
        drawn: attenuation of each of the scene's bones, and its corner (top, left) on the film.
        inside: [rows, columns] the field, 0 to 1.

    Raises:
        ValueError: no bone of the scene lies in the field.
    """
    draw = np.random.default_rng(finding.seed)
    best: _Attempt | None = None
    tried = 0
    for index, place in _sites(scene, beam, drawn, inside, draw):
        attempt = _Attempt.at(drawn[index], place, finding, bench.scale, draw, 1 + 0.1 * min(tried, _SITES))
        if not _contained(attempt.planted.box, inside):
            continue
        attempt = attempt.measured(attenuation, finding.contrast_to_noise, bench, draw)
        tried += 1
        if best is None or attempt.planted.contrast_to_noise > best.planted.contrast_to_noise:
            best = attempt
        enough = finding.contrast_to_noise if tried < _SITES else CONTRAST_TO_NOISE[0]
        if best.planted.contrast_to_noise >= enough - 1e-3 or tried == _MOST_SITES:
            break
    if best is None:
        raise ValueError("no bone in the field can be broken")
    top, left = best.corner
    rows, columns = best.bone.shape
    attenuation[top : top + rows, left : left + columns] += best.difference(best.planted.amplitude)
    return best.planted


def _sites(
    scene: Scene, beam: Beam, drawn: Sequence[tuple[Map, tuple[int, int]]], inside: Map, draw: np.random.Generator
) -> Iterator[tuple[int, Site]]:
    """Drawn places on breakable bones, in the field: index of the bone, and the site."""
    breakable = [k for k, bone in enumerate(scene.bones) if bone.breakable and drawn[k][0].size]
    for _ in range(_DRAWS if breakable else 0):
        index = breakable[int(draw.integers(len(breakable)))]
        place = site(scene.bones[index], beam, float(draw.uniform(0.12, 0.88)))
        row, column = int(place.y), int(place.x)
        if 0 <= row < inside.shape[0] and 0 <= column < inside.shape[1] and inside[row, column] > 0.9:
            yield index, place


def _contained(box: Box, inside: Map) -> bool:
    """Whether the box is not empty and lies in the field."""
    left, top, right, low = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    if right <= left or low <= top or left < 0 or top < 0 or low > inside.shape[0] or right > inside.shape[1]:
        return False
    return float(inside[top:low, left:right].min()) > 0.9


@dataclass(frozen=True)
class _Attempt:
    """One bone, broken at one site."""

    bone: Map
    corner: tuple[int, int]
    crack: Break
    planted: Planted

    @classmethod
    def at(
        cls,
        drawn: tuple[Map, tuple[int, int]],
        place: Site,
        finding: FindingDraw,
        scale: float,
        draw: np.random.Generator,
        gaping: float,
    ) -> "_Attempt":
        bone, (top, left) = drawn
        local = replace(place, x=place.x - left, y=place.y - top)
        length = _LINE_IN_BOX * max(finding.size - 2 * BREAK_PAD, FRACTURE_SIZE[0] - 2) / scale
        crack = draw_break(bone.shape, local, length, scale, draw, gaping)
        box = (crack.box[0] + left, crack.box[1] + top, crack.box[2] + left, crack.box[3] + top)
        size = max(box[2] - box[0], box[3] - box[1]) * scale
        return cls(bone, (top, left), crack, Planted("fracture", box, size, 0.0, 0.0))

    def difference(self, amplitude: float) -> Map:
        """What the fracture changes, on the bone's raster."""
        return broken(self.bone, self.crack, amplitude) - self.bone

    def measured(self, attenuation: Map, wanted: float, bench: Bench, draw: np.random.Generator) -> "_Attempt":
        """With the amplitude that gives the ``wanted`` contrast-to-noise ratio, as far as the bone allows."""
        cut = around(self.planted.box, bench.scale, attenuation.shape).cut()
        without, weight = attenuation[cut], _framed(self.crack.line, self.corner, cut)
        noise = draw.standard_normal(without.shape, dtype=np.float32)

        def ratio(amplitude: float) -> float:
            changed = without + _framed(self.difference(amplitude), self.corner, cut)
            return bench.ratio(without, changed, weight, cut, noise)

        amplitude, reached = solve_amplitude(ratio, wanted, 1.0)
        return replace(self, planted=replace(self.planted, amplitude=amplitude, contrast_to_noise=reached))


def _framed(piece: Map, corner: tuple[int, int], cut: _Cut) -> Map:
    """What of ``piece`` (its corner at film row, column) lies in the window ``cut``, zero elsewhere."""
    out = np.zeros((cut[0].stop - cut[0].start, cut[1].stop - cut[1].start), dtype=np.float32)
    top, left = corner[0] - cut[0].start, corner[1] - cut[1].start
    rows = slice(max(top, 0), min(top + piece.shape[0], out.shape[0]))
    columns = slice(max(left, 0), min(left + piece.shape[1], out.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        out[rows, columns] = piece[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out
