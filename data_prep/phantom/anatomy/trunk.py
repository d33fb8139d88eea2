"""Scenes of parts of the trunk, cut from the scene of the chest: ribs, shoulder, clavicle, scapula, thoracic spine.

Silhouettes of soft organs keep their view, so that these scenes are not mirrored: the field is on the side of the film.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from data_prep.phantom.anatomy import chest
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.imaging.projection import about_y
from data_prep.phantom.imaging.scene import Bone, Scene
from data_prep.phantom.imaging.solids import Shaft, Tube

_OBLIQUE = 0.45
"""Rotation of an oblique view about the long axis, radians."""


@dataclass(frozen=True)
class _Part:
    """A part of the trunk.

    Attributes:
        field: left, bottom, right, top, mm, of the left side of the body, or of the middle.
        bones: sorts of bones that may break there.
        mineral: factor of the attenuation of bone, for the tube voltage.
        energy: tube voltage, kVp.
    """

    field: tuple[float, float, float, float]
    bones: tuple[str, ...]
    mineral: float
    energy: int


_PARTS = {
    "RIB": _Part((-14, -150, 158, 172), ("rib",), 1.3, 75),
    "SHOULDER": _Part((92, -6, 226, 168), ("humerus",), 1.9, 66),
    "CLAVICLE": _Part((-12, 74, 186, 176), ("clavicle",), 1.9, 66),
    "SCAPULA": _Part((62, -62, 176, 168), ("acromion",), 1.9, 66),
    "TSPINE": _Part((-62, -196, 62, 176), ("vertebra",), 1.5, 75),
}
NAMES = frozenset(_PARTS)
"""Body parts that :func:`part_of_trunk` draws."""
_EXTRA = {"blade": 2.6, "acromion": 1.5}
"""Sort of bone → factor of its attenuation, besides that of the part: thin bones are hardly seen on a chest film."""
_LATERAL_SPINE = (-4.0, -196.0, 112.0, 176.0)


def part_of_trunk(anatomy: Anatomy, body_part: str, view: str, obliquity: float, side: str) -> Scene:
    """Make the scene of a part of the trunk.

    Args:
        anatomy: body parameters.
        body_part: one of NAMES.
        view: AP, OBLIQUE, or LAT of the spine.
        obliquity: rotation about the long axis, radians.
        side: L or R.
    """
    part = _PARTS[body_part]
    lateral = view == "LAT"
    scene = chest.chest(anatomy, "LAT" if lateral else "PA", obliquity)
    left, bottom, right, top = _LATERAL_SPINE if lateral else part.field
    if side == "R" and body_part != "TSPINE":
        left, right = -right, -left
    size = anatomy.size
    bones = tuple(
        replace(
            bone,
            cortex=bone.cortex * part.mineral * _EXTRA.get(sort, 1.0),
            marrow=bone.marrow * part.mineral * _EXTRA.get(sort, 1.0),
            breakable=sort in part.bones and (body_part == "TSPINE" or _is_on_side(bone, side)),
        )
        for sort, bone in _bones(anatomy)
    )
    turn = {"OBLIQUE": -_OBLIQUE if side == "L" else _OBLIQUE}.get(view, 0.0)
    pose = about_y(turn) @ scene.pose
    return replace(
        scene, pose=pose, field=(left * size, bottom * size, right * size, top * size), bones=bones, energy=part.energy
    )


def _bones(anatomy: Anatomy) -> Iterator[tuple[str, Bone]]:
    """Sort of each bone, and the bone."""
    yield from (("rib", bone) for bone in chest.ribs(anatomy))
    yield from (("vertebra" if isinstance(bone.parts[0], Shaft) else "process", bone) for bone in chest.spine(anatomy))
    for side in (-1.0, 1.0):
        yield "clavicle", chest.clavicle(anatomy, side)
        blade, acromion = chest.scapula(anatomy, side)
        yield "blade", blade
        yield "acromion", acromion
        yield "humerus", chest.upper_arm(anatomy, side)


def _is_on_side(bone: Bone, side: str) -> bool:
    part = bone.parts[0]
    x = part.points[-1, 0] if isinstance(part, Tube) else part.start[0] if isinstance(part, Shaft) else 0.0
    return bool((x > 0) == (side == "L"))
