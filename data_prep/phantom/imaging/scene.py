"""Computes the attenuation of a scene, the soft tissues and bones in the beam, as line integrals on the film."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Beam, Bounds, Map, Vector, enclosing_bounds
from data_prep.phantom.imaging.solids import Body, Shaft, Tube, tube_segments
from data_prep.phantom.imaging.tube_chords import add_powers_of_chords

_TILE = 512
_COARSE_RASTER = 60_000
"""Cells of a raster below which the tubes of a tissue are computed together."""


@dataclass(frozen=True)
class Tissue:
    """Smooth union of bodies of one tissue.

    Attributes:
        bodies: united where they overlap, not added.
        mu: attenuation per mm, relative to the surrounding tissue (negative for air and fat).
        blend: exponent of the union; a large one preserves creases, a small one fills them.
        step: film pixels per raster cell; smooth bodies are drawn coarsely.
        without: bodies that replace this tissue.
    """

    bodies: tuple[Body, ...]
    mu: float
    blend: float = 4.0
    step: int = 2
    without: tuple[Body, ...] = ()


@dataclass(frozen=True)
class Bone:
    """Bodies that share one cortex, with trabeculae inside.

    Attributes:
        parts: bodies; united where they overlap, not added.
        cortex: attenuation per mm of the wall, in excess of soft tissue.
        marrow: attenuation per mm of the inside, in excess of soft tissue.
        grain: strength of the trabecular texture, 0 to 1.
        step: film pixels per raster cell.
        breakable: a fracture may be planted across its first part.
    """

    parts: tuple[Body, ...]
    cortex: float
    marrow: float
    grain: float = 0.5
    step: int = 1
    breakable: bool = False


@dataclass(frozen=True)
class Scene:
    """Everything in the beam in one view.

    Attributes:
        pose: [3, 3] rotation of the body to the view.
        field: left, bottom, right, top of the usual field in the plane of the view, mm from the origin.
        skin: tissues of the outer surface, which define the content of the film.
        inner: tissues inside.
        bones: bones.
        scatter: scattered per primary radiation behind the thickest part.
        energy: tube voltage, kVp.
    """

    pose: Vector
    field: Bounds
    skin: tuple[Tissue, ...]
    inner: tuple[Tissue, ...] = ()
    bones: tuple[Bone, ...] = ()
    scatter: float = 0.3
    energy: int = 55


@dataclass(frozen=True)
class Site:
    """A position on a bone.

    Attributes:
        x: film column, pixels.
        y: film row, pixels.
        axis: unit vector along the axis of the bone.
        half_width: pixels.
    """

    x: float
    y: float
    axis: tuple[float, float]
    half_width: float


def find_site(bone: Bone, beam: Beam, along: float) -> Site:
    """Compute a position on the axis of the first part of a bone.

    Args:
        bone: the bone.
        beam: projection onto the film.
        along: position along the axis, 0 to 1.

    Raises:
        TypeError: the first part has no axis.
    """
    part = bone.parts[0]
    if isinstance(part, Shaft):
        ends = beam.project(np.stack((part.start, part.end)))
        half, _, offset = part.sections(beam)
        entry = min(int(along * len(half)), len(half) - 1)
        axis = (ends[1] - ends[0]) / max(float(np.hypot(*(ends[1] - ends[0]))), 1e-6)
        shift = (float(offset[entry]) + 4 * part.bend * along * (1 - along)) * beam.scale
        x, y = ends[0] + along * (ends[1] - ends[0]) + shift * np.array([-axis[1], axis[0]])
        return Site(float(x), float(y), (float(axis[0]), float(axis[1])), float(half[entry]) * beam.scale)
    if isinstance(part, Tube):
        seen = beam.project(part.points)
        k = min(int(along * (len(seen) - 1)), len(seen) - 2)
        span = seen[k + 1] - seen[k]
        axis = span / max(float(np.hypot(*span)), 1e-6)
        x, y = (seen[k] + seen[k + 1]) / 2
        return Site(float(x), float(y), (float(axis[0]), float(axis[1])), float(part.radii[k]) * beam.scale)
    raise TypeError(f"a {type(part).__name__} has no axis")


def bone_density(bone: Bone, beam: Beam, site: Site) -> float:
    """Compute the attenuation of the first part of a bone at a position, without texture.

    Args:
        bone: the bone.
        beam: projection onto the film.
        site: the position.
    """
    x, y = (np.array([value], dtype=np.float32) for value in (site.x, site.y))
    outer, inner = (float(part.chord(beam, x, y)[0, 0]) for part in (bone.parts[0], bone.parts[0].shrunk()))
    return bone.cortex * max(outer - inner, 0.0) + bone.marrow * inner


def tissue_map(tissues: tuple[Tissue, ...], beam: Beam, rows: int, columns: int) -> Map:
    """Compute the summed attenuation of tissues.

    Args:
        tissues: the tissues.
        beam: projection onto the film.
        rows: rows of the film.
        columns: columns of the film.

    Returns:
        [rows, columns] attenuation.
    """
    out = np.zeros((rows, columns), dtype=np.float32)
    for step in sorted({tissue.step for tissue in tissues}):
        coarse = np.zeros((-(-rows // step), -(-columns // step)), dtype=np.float32)
        for tissue in (t for t in tissues if t.step == step):
            _add_tissue(coarse, tissue, beam, step)
        out += coarse if step == 1 else _enlarge(coarse, rows, columns, step)
    return out


def bone_map(bone: Bone, beam: Beam, rows: int, columns: int, grain: Map) -> tuple[Map, tuple[int, int]]:
    """Compute the attenuation of a bone.

    Args:
        bone: the bone.
        beam: projection onto the film.
        rows: rows of the film.
        columns: columns of the film.
        grain: trabecular texture, see :func:`grain_tile`.

    Returns:
        Attenuation on a rectangle of the film around the bone, and (top, left) of the rectangle.
    """
    left, top, right, bottom = enclosing_bounds([part.bounds(beam) for part in bone.parts])
    step = bone.step
    left, top = max(int(left) // step * step, 0), max(int(top) // step * step, 0)
    right, bottom = min(int(right) + 2 * step, columns), min(int(bottom) + 2 * step, rows)
    if right - left < 2 * step or bottom - top < 2 * step:
        return np.zeros((0, 0), dtype=np.float32), (0, 0)
    x, y = _centres(left, right, step), _centres(top, bottom, step)
    outer, inner = _union(bone.parts, beam, x, y), _union(tuple(p.shrunk() for p in bone.parts), beam, x, y)
    trabecular = _trabecular_share(bone, beam, x, y) * (1 + np.float32(bone.grain) * _grain(bone, beam, x, y, grain))
    out = np.float32(bone.cortex) * np.maximum(outer - inner, 0) + np.float32(bone.marrow) * inner * trabecular
    if step > 1:
        out = _enlarge(out, bottom - top, right - left, step)
    return np.asarray(out, dtype=np.float32), (top, left)


def grain_tile(seed: int) -> Map:
    """Draw a periodic trabecular texture [512, 512] of mean 0 and deviation 1; trabeculae run along the first axis."""
    noise = np.random.default_rng(seed).standard_normal((_TILE, _TILE))
    fy, fx = np.fft.fftfreq(_TILE)[:, None], np.fft.fftfreq(_TILE)[None, :]
    wave = np.hypot(fy * 2.2, fx)
    band = np.exp(-((np.log(np.maximum(wave, 1e-4) / 0.09) / 0.75) ** 2))
    texture = np.fft.ifft2(np.fft.fft2(noise) * band).real
    return np.asarray(texture / texture.std(), dtype=np.float32)


def _trabecular_share(bone: Bone, beam: Beam, x: Map, y: Map) -> Map | np.float32:
    """Fraction of trabecular bone inside: 1 at the ends of a shaft, less where the wall is thick."""
    part = bone.parts[0]
    if not isinstance(part, Shaft):
        return np.float32(1)
    walls = np.array([station.wall for station in part.stations])
    share = 1 - 0.7 * (walls - walls.min()) / max(float(np.ptp(walls)), 1e-6)
    table = np.interp(np.linspace(0, 1, 256), [station.at for station in part.stations], share).astype(np.float32)
    along, _ = part.frame(beam, x, y)
    return np.asarray(table[np.clip(along * 256, 0, 255).astype(np.int32)])


def _grain(bone: Bone, beam: Beam, x: Map, y: Map, tile: Map) -> Map:
    """Texture along the bone, with 9 cells of the tile per mm."""
    part = bone.parts[0]
    cells = np.float32(9.0)
    if isinstance(part, Shaft):
        along, across = part.frame(beam, x, y)
        u, v = along * np.float32(part.length() * cells), across * cells
    else:
        left, top, _, _ = part.bounds(beam)
        u = np.broadcast_to(((y - np.float32(top)) / np.float32(beam.scale) * cells)[:, None], (len(y), len(x)))
        v = np.broadcast_to(((x - np.float32(left)) / np.float32(beam.scale) * cells)[None, :], (len(y), len(x)))
    seed = float(np.abs(beam.project(np.asarray(_anchor(part))[None])[0]).sum()) * 7.3
    return np.asarray(
        cv2.remap(
            tile,
            (v + np.float32(seed)) % _TILE,
            (u + np.float32(seed * 0.37)) % _TILE,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
    )


def _anchor(part: Body) -> Vector:
    if isinstance(part, Shaft):
        return part.start
    if isinstance(part, Tube):
        return np.asarray(part.points[0], dtype=np.float64)
    return np.asarray(getattr(part, "centre", np.zeros(3)), dtype=np.float64)


def _union(parts: tuple[Body, ...], beam: Beam, x: Map, y: Map) -> Map:
    out = parts[0].chord(beam, x, y)
    for part in parts[1:]:
        rows, columns = _window(part.bounds(beam), x, y)
        if rows.stop > rows.start and columns.stop > columns.start:
            np.maximum(out[rows, columns], part.chord(beam, x[columns], y[rows]), out=out[rows, columns])
    return out


def _add_tissue(coarse: Map, tissue: Tissue, beam: Beam, step: int) -> None:
    y, x = (_centres(0, n * step, step) for n in coarse.shape)
    rows, columns = _window(enclosing_bounds([body.bounds(beam) for body in tissue.bodies]), x, y)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    x, y = x[columns], y[rows]
    thickness = _smooth_union(tissue.bodies, tissue.blend, beam, x, y)
    if tissue.without:
        thickness = np.maximum(thickness - _smooth_union(tissue.without, 3.0, beam, x, y), 0)
    coarse[rows, columns] += np.float32(tissue.mu) * thickness


def _smooth_union(bodies: tuple[Body, ...], blend: float, beam: Beam, x: Map, y: Map) -> Map:
    """Smooth union: the ``blend``-norm of the chords, [len(y), len(x)] mm."""
    power = np.float32(blend)
    if len(bodies) == 1:
        return bodies[0].chord(beam, x, y)
    total = np.zeros((len(y), len(x)), dtype=np.float32)
    tubes = [body for body in bodies if isinstance(body, Tube)]
    if len(tubes) == len(bodies) and len(y) * len(x) < _COARSE_RASTER and len({len(t.points) for t in tubes}) == 1:
        per_tube = len(tubes[0].points) - 1
        add_powers_of_chords(total, tube_segments(tubes, beam), per_tube, x, y, power, np.float32(beam.scale))
        return np.asarray(total ** (1 / power), dtype=np.float32)
    for body in bodies:
        rows, columns = _window(body.bounds(beam), x, y)
        if rows.stop > rows.start and columns.stop > columns.start:
            total[rows, columns] += body.chord(beam, x[columns], y[rows]) ** power
    return np.asarray(total ** (1 / power), dtype=np.float32)


def _window(bounds: Bounds, x: Map, y: Map) -> tuple[slice, slice]:
    left, right = np.searchsorted(x, (bounds[0], bounds[2]))
    top, bottom = np.searchsorted(y, (bounds[1], bounds[3]))
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _centres(start: int, stop: int, step: int) -> Map:
    """Film positions of the centres of raster cells, in pixels."""
    return np.arange(start, stop, step, dtype=np.float32) + np.float32((step - 1) / 2)


def _enlarge(coarse: Map, rows: int, columns: int, step: int) -> Map:
    large = cv2.resize(coarse, (coarse.shape[1] * step, coarse.shape[0] * step), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[:rows, :columns])
