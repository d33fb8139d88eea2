"""Settings of augmentation, and the drawing of its parameters; other modules apply them.

There is no rotation, shear or stretching by default: films are upright, and angles and proportions of bones are
findings. Neither are blur, shading and local contrast: what they hide or invent is what a finding of a few pixels is
made of. Who wants them names a file of transforms of albumentations, or one of ``configs/augmentation``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import yaml
from pydantic import AfterValidator, BeforeValidator, Field

from data_prep.settings import Settings
from data_prep.shard_format.sidecar import Display, Sidecar

MAX_CENTRE_SHIFT = 0.2
"""Largest shift of the window centre at strength 1, in window widths."""

MAX_WIDTH_FACTOR = 1.5
"""Largest factor or divisor of the window width at strength 1."""

MAX_GAMMA = 1.8
"""Largest exponent at strength 1; the smallest is its inverse."""

MAX_NOISE = 0.02
"""Largest standard deviation of the noise at strength 1, as a fraction of the display range."""

MIDLINE = frozenset(
    {"SKULL", "HEAD", "FACE", "NOSE", "SINUS", "JAW", "TEETH", "NECK", "CSPINE", "SSPINE", "COCCYX", "PELVIS"}
)
"""Body parts whose mirror image is a film of the same body part and side."""


def _is_area_range(crop: tuple[float, float]) -> tuple[float, float]:
    low, high = crop
    if not 0 < low <= high <= 1:
        raise ValueError(f"{low} to {high} is not an increasing range of area fractions in (0, 1]")
    return crop


Crop = Annotated[tuple[float, float], AfterValidator(_is_area_range)]
"""(low, high) area of a random square crop, as fractions of the content box."""

Strength = Annotated[float, Field(ge=0, le=1)]
"""Strength of a variation; 0 disables it."""

PRESETS = Path(__file__).resolve().parents[1] / "configs" / "augmentation"
"""Folder of the files of transforms that come with the package."""


def _read_transforms(value: object) -> object:
    """Read the file of transforms that a config names; a mapping is its content already."""
    if not isinstance(value, str | Path):
        return value
    path = Path(value)
    if path.name == str(value) and not path.suffix and not path.exists():
        path = PRESETS / f"{value}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        names = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.yaml")))
        raise ValueError(f"{value} is no readable YAML file. Give one of albumentations.save, or {names}") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("transform"), Mapping):
        raise ValueError(f"{value} holds no transform. Write it with albumentations.save(transform, FILE, 'yaml')")
    return dict(content)


def _check_transforms(transforms: dict[str, Any]) -> dict[str, Any]:
    from mae_rad.data.film_transforms import check_transforms  # noqa: PLC0415 - albumentations takes seconds to load

    check_transforms(transforms)
    return transforms


Transforms = Annotated[dict[str, Any], BeforeValidator(_read_transforms), AfterValidator(_check_transforms)]
"""Serialised transforms of albumentations. A config names their file; a run records their content."""


class Augmentation(Settings):
    """Variations of a film in training. By default there are none."""

    crop: Crop | None = None
    """(low, high) area of a random square crop as fractions of the content box; null takes the whole film."""
    flip: Strength = 0.0
    """Probability of a left-right flip of films of midline body parts without a recorded side. Chest, abdomen,
    limbs and unknown body parts are not flipped."""
    flip_sides: bool = False
    """Flip films of all body parts, too: a right hand becomes a left one, and the heart lies on the right."""
    window: Strength = 0.0
    """Change the window: at 1 its centre by up to a fifth of its width, its width by a factor of up to 1.5."""
    other_window: Strength = 0.0
    """Probability that a film with several windows in its header is displayed with another of them."""
    gamma: Strength = 0.0
    """Change gamma: at 1 by an exponent of 1/1.8 to 1.8."""
    noise: Strength = 0.0
    """Add noise to the input, not to the targets: at 1 a standard deviation of up to 2 % of the display range."""
    transforms: Transforms | None = None
    """File of transforms of albumentations (``albumentations.save``) for the displayed film, after window and gamma, or
    the name of one of configs/augmentation; boxes follow. Its content is part of the run. Where patches are predicted,
    transforms may change values only."""

    @property
    def off(self) -> set[str]:
        """Newer settings at the value of earlier releases; hashes exclude them, so that earlier hashes stay valid."""
        return {"transforms"} if self.transforms is None else set()

    @property
    def augmentation(self) -> "Augmentation":
        """These settings without the other settings of an objective."""
        return Augmentation(**{name: getattr(self, name) for name in Augmentation.model_fields})


class Variation(NamedTuple):
    """Drawn parameters of an augmentation. The default changes nothing.

    Attributes:
        area: area of the crop as a fraction of the content box; None takes the whole film.
        place: (down, across) position of the crop in [0, 1].
        mirrored: left and right are exchanged.
        window: index into the windows that :func:`windows` lists.
        shift: shift of the window centre, in window widths.
        widen: factor of the window width.
        gamma: exponent of brightness.
        noise: standard deviation of the noise, as a fraction of the display range.
        noise_seed: seed of the noise.
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
    """Draw the variation of a film.

    Args:
        augmentation: settings of the augmentation.
        sidecar: metadata of the film.
        generator: always advanced by the same number of draws, so that enabling noise does not change crops.
    """
    area, down, across, flip, switch, which, shift, widen, gamma, noise = generator.random(10).tolist()
    seed = int(generator.integers(2**63))
    crop, alternatives = augmentation.crop, len(windows(sidecar.display)) - 1
    return Variation(
        area=None if crop is None else crop[0] + area * (crop[1] - crop[0]),
        place=(down, across),
        mirrored=flip < augmentation.flip and (augmentation.flip_sides or is_mirror_symmetric(sidecar)),
        window=1 + int(which * alternatives) if alternatives and switch < augmentation.other_window else 0,
        shift=MAX_CENTRE_SHIFT * augmentation.window * (2 * shift - 1),
        widen=MAX_WIDTH_FACTOR ** (augmentation.window * (2 * widen - 1)),
        gamma=MAX_GAMMA ** (augmentation.gamma * (2 * gamma - 1)),
        noise=MAX_NOISE * augmentation.noise * noise,
        noise_seed=seed,
    )


def is_mirror_symmetric(sidecar: Sidecar) -> bool:
    """Whether the mirror image is a valid film of the same body part and side; False if that is unknown.

    Limbs have a side, even if none is recorded.
    """
    return sidecar.laterality is None and sidecar.body_part in MIDLINE


def windows(display: Display) -> list[tuple[float, float]]:
    """List the windows that a film may be displayed with, its default first.

    Other windows of the header are included if they are similar to the default: they overlap it by half of the narrower
    of the two, and differ in width by a factor of at most four.

    Args:
        display: display settings of the film.

    Returns:
        (centre, width) of each; empty if the display is a table.
    """
    if display.center is None or display.width is None or display.table is not None:
        return []
    default = (display.center, display.width)
    if display.source != "window":  # the windows of the header were found unusable
        return [default]
    alternatives = [window for window in dict.fromkeys(display.windows) if window != default]
    return [default, *(window for window in alternatives if _is_similar(window, default))]


def _is_similar(window: tuple[float, float], default: tuple[float, float]) -> bool:
    (center, width), (default_center, default_width) = window, default
    if not max(1.0, default_width / 4) <= width <= 4 * default_width:
        return False
    shared = min(center + width / 2, default_center + default_width / 2)
    shared -= max(center - width / 2, default_center - default_width / 2)
    return shared >= 0.5 * min(width, default_width)
