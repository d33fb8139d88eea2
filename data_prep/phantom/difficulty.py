"""Levels of difficulty of a synthetic archive: size and contrast of findings, and which films of a study show them."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Difficulty:
    """A level of difficulty. Sizes and contrast are those at training size T = 1024 (``planted_findings``).

    Attributes:
        object_size: range of the longer side of the box of a foreign object, pixels.
        fracture_size: range of the longer side of the box of a fracture, pixels.
        contrast_to_noise: range of the contrast-to-noise ratio.
        shared_studies: fraction of the studies whose findings are on all their films; in the others, each film has
            findings of its own.
        gap: factor of the width and displacement of a fracture.
    """

    object_size: Range
    fracture_size: Range
    contrast_to_noise: Range
    shared_studies: float
    gap: float


HARD = Difficulty((4.0, 40.0), (6.0, 60.0), (1.5, 6.0), 0.0, 1.0)
LEVELS = {
    "clear": Difficulty((32.0, 128.0), (32.0, 128.0), (12.0, 30.0), 1.0, 2.5),
    "clinical": Difficulty((12.0, 80.0), (12.0, 80.0), (4.0, 12.0), 0.8, 1.5),
    "hard": HARD,
}
