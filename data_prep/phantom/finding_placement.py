"""Places findings: an object at a free position on the body, a fracture on a bone that can show its contrast."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.difficulty import Difficulty
from data_prep.phantom.foreign_objects import draw_object
from data_prep.phantom.fracture_site import FractureSite
from data_prep.phantom.imaging.detector import exposed
from data_prep.phantom.imaging.projection import Beam, Map
from data_prep.phantom.imaging.scene import Scene, Site, find_site
from data_prep.phantom.planted_findings import (
    LINE_PAD,
    Box,
    FractureLine,
    Planted,
    break_bone,
    contrast_to_noise,
    draw_fracture_line,
    solve_amplitude,
    surrounding_window,
)
from data_prep.phantom.random_draws import FindingDraw

_SITES_FOR_WANTED_CONTRAST, _MAX_SITES, _MAX_SITE_DRAWS = 14, 56, 2000
"""Sites on bones that are tried for the wanted contrast, sites that are tried for any contrast in the range of
the level, and draws to find them."""
_LINE_FRACTION_OF_BOX = 0.9
"""Length of the line as a fraction of the drawn size, so that a jagged line stays in its box."""
_MAX_OBJECT_ATTENUATION = 6.0
"""Largest attenuation of an object."""
_MAX_CALLUS = 3.0
"""Largest attenuation of a callus."""
_PLACE_STEP_PIXELS = 4
_PLACE_STEPS = 300
"""Steps of positions of an object along the longer side, where positions do not depend on the detector."""

_WindowSlices = tuple[slice, slice]


@dataclass(frozen=True)
class ExposureModel:
    """Exposure for which the contrast of a finding is computed.

    Attributes:
        scatter: [rows, columns] scattered radiation, relative to the open beam.
        quanta: detected quanta per pixel in the open beam.
        blur: standard deviation of the point spread, pixels.
        scale: pixels at T = 1024 per pixel.
        level: difficulty of the archive.
    """

    scatter: Map
    quanta: float
    blur: float
    scale: float
    level: Difficulty

    def ratio(self, without: Map, weight: Map, window_slices: _WindowSlices, noise: Map) -> Callable[[Map], float]:
        """Prepare the contrast-to-noise ratio between attenuation maps of a window of the film.

        Args:
            without: [rows, columns] attenuation without the finding.
            weight: [rows, columns] shape of the finding, 0 to 1.
            window_slices: the window.
            noise: [rows, columns] standard normal noise.

        Returns:
            Function of the attenuation with the finding.
        """

        def expose(attenuation: Map, added_noise: Map | None = None) -> Map:
            return exposed(attenuation, self.scatter[window_slices], self.quanta, self.blur, added_noise)

        ratio = contrast_to_noise(expose(without), expose(without, noise), weight, self.scale)
        return lambda with_it: ratio(expose(with_it))


def plant_object(
    attenuation: Map, body: NDArray[np.bool_], field: Map, finding: FindingDraw, exposure: ExposureModel
) -> Planted:
    """Add an object on the body to an attenuation map.

    Args:
        attenuation: [rows, columns] map, changed in place.
        body: [rows, columns] True for the body in the field.
        field: [rows, columns] collimated field, 0 to 1.
        finding: draw of the object.
        exposure: exposure for which the contrast is computed.

    Raises:
        ValueError: the field has no free position that is large enough.
    """
    draw = np.random.default_rng(finding.seed)
    low, high = (size / exposure.scale for size in exposure.level.object_size)
    pixels = min(max(round(finding.size / exposure.scale), math.ceil(low)), math.floor(high))
    shape = draw_object(finding.kind, pixels, finding.angle, draw)
    if exposure.level.keeps_positions:
        x, y = _place_object_by_rows(body, field, finding, shape.shape)
    else:
        x, y = _place_object(body, field, finding.place, shape.shape)
    box = (float(x), float(y), float(x + shape.shape[1]), float(y + shape.shape[0]))
    window = surrounding_window(box, exposure.scale, body.shape)
    window_slices = window.cut()
    weight = np.zeros((window.rows, window.columns), dtype=np.float32)
    weight[y - window.top :, x - window.left :][: shape.shape[0], : shape.shape[1]] = shape
    without = attenuation[window_slices].copy()
    noise = draw.standard_normal(without.shape, dtype=np.float32)
    ratio = exposure.ratio(without, weight, window_slices, noise)
    amplitude, reached = solve_amplitude(
        lambda a: ratio(without + np.float32(a) * weight), finding.contrast_to_noise, _MAX_OBJECT_ATTENUATION
    )
    least = finding.contrast_to_noise * exposure.level.object_attenuation
    if amplitude < least:
        amplitude, reached = least, ratio(without + np.float32(least) * weight)
    attenuation[window_slices] = without + np.float32(amplitude) * weight
    return Planted(finding.kind, box, max(shape.shape) * exposure.scale, reached, amplitude)


def _place_object(body: NDArray[np.bool_], field: Map, place: float, shape: tuple[int, ...]) -> tuple[int, int]:
    """Upper left corner (x, y) of an object that lies in the field with its centre on the body."""
    is_free = _free_positions(body, field, shape, _PLACE_STEP_PIXELS, 2)
    free_positions = np.flatnonzero(is_free)
    row, column = np.unravel_index(free_positions[int(place * free_positions.size)], is_free.shape)
    return int(column) * _PLACE_STEP_PIXELS - shape[1] // 2, int(row) * _PLACE_STEP_PIXELS - shape[0] // 2


def _place_object_by_rows(
    body: NDArray[np.bool_], field: Map, finding: FindingDraw, shape: tuple[int, ...]
) -> tuple[int, int]:
    """As :func:`_place_object`; the row, then the column is chosen, so that the raster hardly moves the object."""
    step = max(1, round(max(body.shape) / _PLACE_STEPS))
    is_free = _free_positions(body, field, shape, step, step // 2)
    below = np.cumsum(is_free.sum(axis=1)) / is_free.sum()
    row = int(np.searchsorted(below, finding.place, side="right"))
    columns = np.flatnonzero(is_free[row])
    column = columns[int(np.random.default_rng((finding.seed, 1)).random() * columns.size)]
    return int(column) * step - shape[1] // 2, row * step - shape[0] // 2


def _free_positions(
    body: NDArray[np.bool_], field: Map, shape: tuple[int, ...], step: int, margin: int
) -> NDArray[np.bool_]:
    """Positions, every ``step`` pixels, of the centre of an object in the field, ``margin`` pixels from its edge.

    The centre is on the body.

    Raises:
        ValueError: there is none.
    """
    half = (shape[0] // 2 + margin, shape[1] // 2 + margin)
    kernel = np.ones((2 * half[0] // step + 1, 2 * half[1] // step + 1), dtype=np.uint8)
    open_field = (field[::step, ::step] > 0.99).astype(np.uint8)
    is_free = cv2.erode(open_field, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    is_free &= body[::step, ::step]
    if not is_free.any():
        raise ValueError("the object is too large for every position on the body in the field")
    return np.asarray(is_free)


def plant_fracture(
    attenuation: Map,
    scene: Scene,
    beam: Beam,
    bone_maps: Sequence[tuple[Map, tuple[int, int]]],
    field: Map,
    finding: FindingDraw,
    exposure: ExposureModel,
) -> Planted:
    """Add a fracture at the first drawn site that reaches the wanted contrast, else at the best one.

    The gap is widened with each attempt.

    Args:
        attenuation: [rows, columns] map, changed in place.
        scene: the scene.
        beam: projection of the scene onto the film.
        bone_maps: attenuation of each bone of the scene, and its corner (top, left) on the film.
        field: [rows, columns] collimated field, 0 to 1.
        finding: draw of the fracture.
        exposure: exposure for which the contrast is computed.

    Raises:
        ValueError: no breakable bone of the scene lies in the field.
    """
    draw = np.random.default_rng(finding.seed)
    best: _Attempt | None = None
    tried = 0
    for index, site in _draw_sites(scene, beam, bone_maps, field, draw):
        gaping = 1 + 0.1 * min(tried, _SITES_FOR_WANTED_CONTRAST)
        attempt = _Attempt.at(bone_maps[index], site, finding, exposure, draw, gaping)
        if not _is_inside_field(attempt.planted.box, field):
            continue
        attempt = attempt.with_contrast(attenuation, finding.contrast_to_noise, exposure, draw)
        tried += 1
        if best is None or attempt.planted.contrast_to_noise > best.planted.contrast_to_noise:
            best = attempt
        enough = (
            finding.contrast_to_noise if tried < _SITES_FOR_WANTED_CONTRAST else exposure.level.contrast_to_noise[0]
        )
        if best.planted.contrast_to_noise >= enough - 1e-3 or tried == _MAX_SITES:
            break
    if best is None:
        raise ValueError("no breakable bone of the scene lies in the field")
    best.add_to(attenuation)
    return best.planted


def plant_fracture_at(
    attenuation: Map,
    scene: Scene,
    beam: Beam,
    bone_maps: Sequence[tuple[Map, tuple[int, int]]],
    place: FractureSite,
    finding: FindingDraw,
    exposure: ExposureModel,
) -> Planted:
    """Add a fracture at a site that was chosen before, with a callus where the gap does not give the contrast.

    Args:
        attenuation: [rows, columns] map, changed in place.
        scene: the scene.
        beam: projection of the scene onto the film.
        bone_maps: attenuation of each bone of the scene, and its corner (top, left) on the film.
        place: the site.
        finding: draw of the fracture.
        exposure: exposure for which the contrast is computed.
    """
    bone, (top, left) = bone_maps[place.bone]
    site = find_site(scene.bones[place.bone], beam, place.along)
    level, scale = exposure.level, place.pixels_per_mm / beam.scale
    length = _line_length(place.size_mm * place.pixels_per_mm, level) / scale
    line = draw_fracture_line(
        bone.shape, replace(site, x=site.x - left, y=site.y - top), length, scale,
        np.random.default_rng((finding.seed, 1)), 1.0, level.gap, level.fracture_size[0], has_callus=True,
    )  # fmt: skip
    attempt = _Attempt.of_line(bone, (top, left), line, exposure.scale)
    noise = np.random.default_rng((finding.seed, 0))
    attempt = attempt.with_contrast(attenuation, finding.contrast_to_noise, exposure, noise, _MAX_CALLUS)
    attempt.add_to(attenuation)
    return attempt.planted


def _line_length(size: float, level: Difficulty) -> float:
    """Length of the line of a fracture of a drawn size, both in pixels at T = 1024."""
    return _LINE_FRACTION_OF_BOX * max(size - 2 * LINE_PAD, level.fracture_size[0] - 2)


def _draw_sites(
    scene: Scene, beam: Beam, bone_maps: Sequence[tuple[Map, tuple[int, int]]], field: Map, draw: np.random.Generator
) -> Iterator[tuple[int, Site]]:
    """Draw sites on breakable bones in the field: index of the bone, and the site."""
    breakable = [k for k, bone in enumerate(scene.bones) if bone.breakable and bone_maps[k][0].size]
    for _ in range(_MAX_SITE_DRAWS if breakable else 0):
        index = breakable[int(draw.integers(len(breakable)))]
        site = find_site(scene.bones[index], beam, float(draw.uniform(0.12, 0.88)))
        row, column = int(site.y), int(site.x)
        if 0 <= row < field.shape[0] and 0 <= column < field.shape[1] and field[row, column] > 0.9:
            yield index, site


def _is_inside_field(box: Box, field: Map) -> bool:
    """Whether the box has an area and lies in the field."""
    left, top, right, bottom = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    if right <= left or bottom <= top or left < 0 or top < 0 or bottom > field.shape[0] or right > field.shape[1]:
        return False
    return float(field[top:bottom, left:right].min()) > 0.9


@dataclass(frozen=True)
class _Attempt:
    """A fracture of one bone at one site."""

    bone: Map
    corner: tuple[int, int]
    fracture_line: FractureLine
    planted: Planted

    @classmethod
    def at(
        cls,
        bone_map: tuple[Map, tuple[int, int]],
        site: Site,
        finding: FindingDraw,
        exposure: ExposureModel,
        draw: np.random.Generator,
        gaping: float,
    ) -> "_Attempt":
        bone, (top, left) = bone_map
        scale, level = exposure.scale, exposure.level
        local = replace(site, x=site.x - left, y=site.y - top)
        length = _line_length(finding.size, level) / scale
        line = draw_fracture_line(bone.shape, local, length, scale, draw, gaping, level.gap)
        return cls.of_line(bone, (top, left), line, scale)

    @classmethod
    def of_line(cls, bone: Map, corner: tuple[int, int], line: FractureLine, scale: float) -> "_Attempt":
        """An attempt without contrast; ``scale`` is in pixels at T = 1024 per pixel."""
        top, left = corner
        box = (line.box[0] + left, line.box[1] + top, line.box[2] + left, line.box[3] + top)
        size = max(box[2] - box[0], box[3] - box[1]) * scale
        return cls(bone, corner, line, Planted("fracture", box, size, 0.0, 0.0))

    def add_to(self, attenuation: Map) -> None:
        """Add the fracture to the attenuation map of the film, in place."""
        (top, left), (rows, columns) = self.corner, self.bone.shape
        attenuation[top : top + rows, left : left + columns] += self.difference(self.planted.amplitude)

    def difference(self, amplitude: float) -> Map:
        """Difference of attenuation by the fracture, on the raster of the bone."""
        return break_bone(self.bone, self.fracture_line, amplitude) - self.bone

    def with_contrast(
        self,
        attenuation: Map,
        wanted_ratio: float,
        exposure: ExposureModel,
        draw: np.random.Generator,
        max_callus: float = 0.0,
    ) -> "_Attempt":
        """The attempt with the amplitude that reaches ``wanted_ratio``, or the largest possible one.

        The amplitude is at most 1, or up to ``max_callus`` more where an open gap does not reach the ratio.
        """
        window_slices = surrounding_window(self.planted.box, exposure.scale, attenuation.shape).cut()
        without = attenuation[window_slices]
        noise = draw.standard_normal(without.shape, dtype=np.float32)

        def solve(least: float, most: float) -> tuple[float, float]:
            weight = _crop_to_window(self.fracture_line.finding(most), self.corner, window_slices)
            ratio = exposure.ratio(without, weight, window_slices, noise)

            def ratio_above_least(amplitude: float) -> float:
                changed = self.difference(least + amplitude)
                return ratio(without + _crop_to_window(changed, self.corner, window_slices))

            amplitude, reached = solve_amplitude(ratio_above_least, wanted_ratio, most - least)
            return least + amplitude, reached

        amplitude, reached = solve(0.0, 1.0)
        if reached < wanted_ratio - 1e-3 and max_callus:
            amplitude, reached = solve(1.0, 1.0 + max_callus)
        return replace(self, planted=replace(self.planted, amplitude=amplitude, contrast_to_noise=reached))


def _crop_to_window(piece: Map, corner: tuple[int, int], window_slices: _WindowSlices) -> Map:
    """Crop ``piece``, whose corner is at a (row, column) of the film, to the window; zero outside the piece."""
    window_rows, window_columns = window_slices
    shape = (window_rows.stop - window_rows.start, window_columns.stop - window_columns.start)
    out = np.zeros(shape, dtype=np.float32)
    top, left = corner[0] - window_rows.start, corner[1] - window_columns.start
    rows = slice(max(top, 0), min(top + piece.shape[0], out.shape[0]))
    columns = slice(max(left, 0), min(left + piece.shape[1], out.shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        out[rows, columns] = piece[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out
