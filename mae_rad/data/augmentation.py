"""What of a film may vary between two looks at it, and one drawn variation: numbers, apart from what applies them.

No rotation, no shear and no stretch: a film is taken upright, and the angles and proportions of bones are findings.
"""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from data_prep.settings import Settings
from data_prep.shard_format.sidecar import Display, Sidecar

CENTRE_SHIFT = 0.2
"""Largest shift of the window centre at strength 1, in window widths."""

WIDTH_FACTOR = 1.5
"""Largest factor or divisor of the window width at strength 1."""

LARGEST_GAMMA = 1.8
"""Largest exponent at strength 1; the smallest is its inverse."""

LARGEST_NOISE = 0.02
"""Largest standard deviation of the noise at strength 1, in display ranges."""

MIDLINE = frozenset(
    {"SKULL", "HEAD", "FACE", "NOSE", "SINUS", "JAW", "TEETH", "NECK", "CSPINE", "SSPINE", "COCCYX", "PELVIS"}
)
"""Body parts whose mirror image is a film of the same body part and side."""


def _is_area_range(crop: tuple[float, float]) -> tuple[float, float]:
    low, high = crop
    if not 0 < low <= high <= 1:
        raise ValueError(f"{low} to {high} is not a range of area fractions in (0, 1]")
    return crop


Crop = Annotated[tuple[float, float], AfterValidator(_is_area_range)]
"""Range of the area of a random square crop, as fractions of the content."""

Strength = Annotated[float, Field(ge=0, le=1)]
"""0 changes nothing."""


class Augmentation(Settings):
    """What may vary. The default varies nothing."""

    crop: Crop | None = None
    """Area range of a random square crop; null takes the film."""
    flip: Strength = 0.0
    """Probability of a left-right mirror, for films that are the same mirrored: of a midline body part, no side named.
    Chest and abdomen, limbs, and films of unknown body part stay as they are."""
    flip_sides: bool = False
    """Mirror any film: a right hand becomes a left one, and the heart lies on the right."""
    window: Strength = 0.0
    """Move the window: at 1 its centre by up to a fifth of its width, its width by a factor of up to 1.5."""
    other_window: Strength = 0.0
    """Probability that a film with several windows is shown by another of them."""
    gamma: Strength = 0.0
    """Another gamma: at 1 an exponent of 1/1.8 to 1.8."""
    noise: Strength = 0.0
    """Noise in what the encoder sees, never in what is predicted: at 1 a deviation of up to 2 % of the range."""

    @property
    def augmentation(self) -> "Augmentation":
        """These settings alone, of an objective that has others beside them."""
        return Augmentation(**{name: getattr(self, name) for name in Augmentation.model_fields})


class Variation(NamedTuple):
    """One draw. The default is the film as it is.

    Attributes:
        area: of the crop, as a fraction of the content box; None takes the film.
        place: (down, across) of the crop in [0, 1].
        mirrored: left and right are exchanged.
        window: which of the windows that :func:`windows` lists.
        shift: of its centre, in window widths.
        widen: factor on its width.
        gamma: exponent.
        noise: standard deviation, in display ranges.
        noise_seed: from which the noise itself is made.
    """

    area: float | None = None
    place: tuple[float, float] = (0.5, 0.5)
    mirrored: bool = False
    window: int = 0
    shift: float = 0.0
    widen: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0


def draw_variation(augmentation: Augmentation, sidecar: Sidecar, generator: np.random.Generator) -> Variation:
    """Draw what ``augmentation`` allows for a film.

    It takes equally many numbers from ``generator`` whatever is allowed, so that turning noise on moves no crop.
    """
    area, down, across, flip, switch, which, shift, widen, gamma, noise = generator.random(10).tolist()
    seed = int(generator.integers(2**63))
    crop, others = augmentation.crop, len(windows(sidecar.display)) - 1
    return Variation(
        area=None if crop is None else crop[0] + area * (crop[1] - crop[0]),
        place=(down, across),
        mirrored=flip < augmentation.flip and (augmentation.flip_sides or is_same_mirrored(sidecar)),
        window=1 + int(which * others) if others and switch < augmentation.other_window else 0,
        shift=CENTRE_SHIFT * augmentation.window * (2 * shift - 1),
        widen=WIDTH_FACTOR ** (augmentation.window * (2 * widen - 1)),
        gamma=LARGEST_GAMMA ** (augmentation.gamma * (2 * gamma - 1)),
        noise=LARGEST_NOISE * augmentation.noise * noise,
        noise_seed=seed,
    )


def is_same_mirrored(sidecar: Sidecar) -> bool:
    """Whether the mirror image is as true as the film; where that is not known it is not.

    A limb without a recorded side has one all the same.
    """
    return sidecar.laterality is None and sidecar.body_part in MIDLINE


def windows(display: Display) -> list[tuple[float, float]]:
    """(centre, width) of the windows that a film may be shown by, its default first; empty where it has no formula.

    The others of its header count where they show what the default shows: they overlap it by half of the narrower of
    the two, and are at most four times as wide or as narrow.
    """
    if display.center is None or display.width is None or display.table is not None:
        return []
    default = (display.center, display.width)
    if display.source != "window":  # the windows of the header have shown nothing
        return [default]
    others = [window for window in dict.fromkeys(display.windows) if window != default]
    return [default, *(window for window in others if _is_alike(window, default))]


def _is_alike(window: tuple[float, float], default: tuple[float, float]) -> bool:
    (center, width), (usual_center, usual_width) = window, default
    if not max(1.0, usual_width / 4) <= width <= 4 * usual_width:
        return False
    shared = min(center + width / 2, usual_center + usual_width / 2)
    shared -= max(center - width / 2, usual_center - usual_width / 2)
    return shared >= 0.5 * min(width, usual_width)
