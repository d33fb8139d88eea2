"""Levels of difficulty of a synthetic archive: size and contrast of findings, and which films of a study show them."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class GradedRanges:
    """Ranges of the measurements of the graded questions (``anatomy/graded_findings.py``).

    Attributes:
        normal_ratio: cardiothoracic ratio of a heart of normal width.
        enlarged_ratio: cardiothoracic ratio of an enlarged heart.
        low_density: density of osteopenic bones.
        normal_density: density of other bones.
        growth_plate: relative width of open growth plates.
        pleural_fluid: height of the fluid in the chest, mm.
        joint_fluid: depth of the fluid in the knee, mm.
    """

    normal_ratio: Range
    enlarged_ratio: Range
    low_density: Range
    normal_density: Range
    growth_plate: Range
    pleural_fluid: Range
    joint_fluid: Range


_CLEAR = GradedRanges((0.40, 0.48), (0.62, 0.70), (0.40, 0.60), (0.95, 1.3), (2.4, 3.6), (80, 130), (22, 34))
_CLINICAL = GradedRanges((0.43, 0.54), (0.56, 0.62), (0.50, 0.70), (0.80, 1.1), (0.8, 1.2), (14, 32), (6, 11))


@dataclass(frozen=True)
class Difficulty:
    """A level of difficulty. Sizes and contrast are those at training size T = 1024 (``planted_findings``).

    Attributes:
        object_size: range of the longer side of the box of a foreign object, pixels.
        fracture_size: range of the longer side of the box of a fracture, pixels.
        contrast_to_noise: range of the wanted contrast-to-noise ratio.
        object_attenuation: least attenuation of an object (ln of the beam) per unit of its wanted ratio; with 0 an
            object has the ratio itself. Little noise makes a high ratio a faint object: metal that is to be seen at
            any size needs this.
        shared_studies: fraction of the studies whose findings are on all their films; in the others, each film has
            findings of its own.
        gap: factor of the width and displacement of a fracture.
        dose: factor of the detected quanta; bones could not give the contrast of clear fractures against more noise.
        keeps_positions: whether findings have the same positions on a coarser detector.
        graded: ranges of the graded questions; None for an archive without them.
    """

    object_size: Range
    fracture_size: Range
    contrast_to_noise: Range
    object_attenuation: float
    shared_studies: float
    gap: float
    dose: float
    keeps_positions: bool
    graded: GradedRanges | None


HARD = Difficulty((4.0, 40.0), (6.0, 60.0), (1.5, 6.0), 0.0, 0.0, 1.0, 1.0, False, None)
LEVELS = {
    "clear": Difficulty((32.0, 128.0), (32.0, 128.0), (12.0, 30.0), 0.12, 1.0, 2.5, 3.0, True, _CLEAR),
    "clinical": Difficulty((12.0, 80.0), (12.0, 80.0), (4.0, 12.0), 0.0, 0.8, 1.5, 1.0, True, _CLINICAL),
    "hard": HARD,
}


@dataclass(frozen=True)
class Confound:
    """A label that is more frequent on the first scanner than on the others.

    Attributes:
        label: a label of the archive.
        strength: 0 (as frequent on each scanner) to 1 (only on the first scanner).
    """

    label: str
    strength: float
