"""Settings of a synthetic archive."""

from dataclasses import dataclass

from data_prep.phantom.difficulty import Confound, Difficulty


@dataclass(frozen=True)
class ArchiveSettings:
    """Settings of an archive.

    Attributes:
        seed: seed.
        patients: number of patients.
        contrast: factor of the contrast of findings.
        long_side: longer side of the films, pixels; None for that of each scanner.
        level: difficulty.
        confound: label that is more frequent on the first scanner; None for none.
        scale: pixels per side of the detector relative to that of each scanner.
        misfiled: probability that a study of the hospital layout lies in the folder of another region.
    """

    seed: int
    patients: int
    contrast: float
    long_side: int | None
    level: Difficulty
    confound: Confound | None
    scale: float
    misfiled: float = 0.0
