"""Transforms of albumentations 2.0.8 (MIT) on displayed films; the only module that imports it.

A film is an image [rows, columns, 1] of float32 display values in [0, 1]. Some transforms of the library convert to 8
bits and back, which loses the grey levels of a radiograph; they are found by trying every transform on noise, and
refused by name, as are those that change the size or the type of an image, leave the display range, or need more than
the image. ``LocalContrast`` and ``BiasField`` are written here, since the library has the first in 8 bits only and not
the second.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for its newest version

import albumentations

WHITE = 65535.0
"""Largest display value."""

_SIZE = (192, 160)
"""Rows and columns of the noise on which transforms are tried."""
_TRIALS = 8
"""Draws of each transform that are tried."""
_FEWEST_LEVELS = 300
"""Grey levels that a transform must leave of the noise, which has 30,720: of 8 bits 256 are left."""
_PROCESSORS = ("bbox_params", "keypoint_params")

_RANGE = (-0.01, 1.01)
"""Display values that a transform may return; they are clipped to [0, 1]."""


class LocalContrast(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """Strengthen or weaken the difference of each pixel to its surroundings, a Gaussian mean.

    Args:
        factor: smallest and largest factor of the difference; below 1 weakens it.
        scale: smallest and largest standard deviation of the surroundings, as a share of the shorter side.
        p: probability of the transform.
    """

    class InitSchema(albumentations.ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        """Types of the arguments, as the library checks them."""

        factor: tuple[float, float]
        scale: tuple[float, float]

    def __init__(
        self, factor: tuple[float, float] = (0.6, 1.6), scale: tuple[float, float] = (0.03, 0.12), p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.factor, self.scale = tuple(factor), tuple(scale)

    def get_params(self) -> dict[str, Any]:
        """Draw factor and scale."""
        return {"factor": self.py_random.uniform(*self.factor), "scale": self.py_random.uniform(*self.scale)}

    def apply(self, img: NDArray[np.float32], factor: float, scale: float, **params: Any) -> NDArray[np.float32]:
        """Apply a drawn factor to an image."""
        del params
        return local_contrast(img, factor, scale * min(img.shape[:2]))


class BiasField(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """Brighten and darken a film smoothly over its area, as the heel effect, scatter and grids do.

    Args:
        strength: largest brightening or darkening as a share, such as 0.3.
        p: probability of the transform.
    """

    class InitSchema(albumentations.ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        """Types of the arguments, as the library checks them."""

        strength: float

    def __init__(self, strength: float = 0.3, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        """Draw the coefficients of the field."""
        return {"coefficients": [self.py_random.uniform(-1, 1) for _ in range(5)]}

    def apply(self, img: NDArray[np.float32], coefficients: list[float], **params: Any) -> NDArray[np.float32]:
        """Apply a drawn field to an image."""
        del params
        return bias_field(img, np.array(coefficients), self.strength)


def local_contrast(image: NDArray[np.float32], factor: float, sigma: float) -> NDArray[np.float32]:
    """Multiply the difference of each pixel to its surroundings.

    Args:
        image: [rows, columns, 1] display values in [0, 1].
        factor: of the difference; 1 changes nothing.
        sigma: standard deviation of the surroundings in pixels.

    Returns:
        Image of the same shape in [0, 1].
    """
    around = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.5), borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)
    return np.asarray(np.clip(around + np.float32(factor) * (image - around), 0, 1))


def bias_field(image: NDArray[np.float32], coefficients: NDArray[np.float64], strength: float) -> NDArray[np.float32]:
    """Multiply an image by the exponential of a polynomial of degree two in the position.

    Args:
        image: [rows, columns, 1] display values in [0, 1].
        coefficients: [5] in [-1, 1], of x, y, x², xy, y² on [-1, 1].
        strength: share by which the field brightens or darkens at most.

    Returns:
        Image of the same shape in [0, 1].
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in image.shape[:2]), indexing="ij")
    field = np.tensordot(coefficients, np.stack([x, y, x * x - 1 / 3, x * y, y * y - 1 / 3]), axes=1)
    largest = max(float(np.abs(field).max()), 1.0)
    factor = np.exp(np.log1p(strength) * field / largest).astype(np.float32)
    return np.asarray(np.clip(image * factor[..., None], 0, 1))


class MovedFilm(NamedTuple):
    """A transformed film.

    Attributes:
        image: [rows, columns] uint16 display values.
        points: [K, 2] float64 (x, y) in pixels; points may lie outside of the film.
    """

    image: NDArray[np.uint16]
    points: NDArray[np.float64]


def transform_film(
    image: NDArray[np.uint16], transforms: Mapping[str, Any], seed: int, points: NDArray[np.float64] | None = None
) -> MovedFilm:
    """Transform a displayed film, and points on it.

    Args:
        image: [rows, columns] uint16 display values.
        transforms: serialised transform, from :func:`check_transforms`.
        seed: of the draws; the same seed gives the same film.
        points: [K, 2] (x, y) in pixels, of which integers are the edges of pixels.
    """
    compose = _compose(_key(transforms))
    compose.set_random_seed(int(generator_for("transforms", seed).integers(2**32)))
    places = np.zeros((0, 2)) if points is None else points
    film: dict[str, Any] = {"image": (image.astype(np.float32) / np.float32(WHITE))[..., None]}
    if _moves(compose):
        film["keypoints"] = places - 0.5  # the library counts from the middle of a pixel
    moved = compose(**film)
    values = np.clip(moved["image"][..., 0], 0, 1) * np.float32(WHITE)
    if _moves(compose):
        places = np.reshape(np.asarray(moved["keypoints"], dtype=np.float64), (-1, 2)) + 0.5
    return MovedFilm(np.rint(values).astype(np.uint16), places)


def check_transforms(transforms: Mapping[str, Any]) -> None:
    """Check that a serialised transform can be applied to films.

    Args:
        transforms: what ``albumentations.to_dict`` returns.

    Raises:
        ValueError: it cannot be read, or one of its transforms cannot be applied; the message names it.
    """
    if problem := _problem(_key(transforms)):
        raise ValueError(problem)


def moves_pixels(transforms: Mapping[str, Any]) -> bool:
    """Return whether a transform moves pixels, not only changes their values."""
    return _moves(_compose(_key(transforms)))


def _moves(transform: Any) -> bool:
    return any(
        not isinstance(leaf, albumentations.ImageOnlyTransform | albumentations.NoOp) for leaf in _leaves(transform)
    )


def _key(transforms: Mapping[str, Any]) -> str:
    """Serialised transform as JSON, without what it says of boxes and points, which follow in any case."""
    inner = {name: value for name, value in (transforms.get("transform") or {}).items() if name not in _PROCESSORS}
    return json.dumps(inner, sort_keys=True)


@lru_cache(maxsize=16)
def _problem(key: str) -> str | None:
    """Why a transform cannot be applied to films; None if it can."""
    try:
        for leaf in _leaves(_compose(key)):
            _try(leaf)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=16)
def _compose(key: str) -> Any:
    """Build the transforms from their JSON; points are always followed and never dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the library warns of arguments that it does not know, and ignores them
        try:
            loaded = albumentations.from_dict({"transform": json.loads(key)})
        except Exception as error:  # each transform checks its arguments in its own way
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"albumentations 2.0.8 cannot read the transforms: {reason}. Mend the file") from None
    points = albumentations.KeypointParams(format="xy", remove_invisible=False)
    return albumentations.Compose([loaded], keypoint_params=points if _moves(loaded) else None)


def _leaves(transform: Any) -> Iterator[Any]:
    """The transforms that a composition applies."""
    if isinstance(transform, albumentations.BaseCompose):
        for part in transform.transforms:
            yield from _leaves(part)
    else:
        yield transform


def _try(leaf: Any) -> None:
    """Apply a transform to noise, as if its probability were 1.

    Raises:
        ValueError: it cannot be applied, or what it returns is not the film.
    """
    name = type(leaf).__name__
    noise = np.random.default_rng(0).random((*_SIZE, 1), dtype=np.float32)
    values = leaf.to_dict()["transform"] | {"p": 1.0}
    always = albumentations.Compose([albumentations.from_dict({"transform": values})])
    for seed in range(_TRIALS):
        always.set_random_seed(seed)
        try:
            result = always(image=noise)["image"]
        except Exception as error:  # as in _compose
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ValueError(f"{name} cannot be applied to a grey film: {reason}. Leave it out") from None
        if result.shape != noise.shape:
            raise ValueError(f"{name} changes the size of a film, which is laid out in patches already. Leave it out")
        if result.dtype != noise.dtype or result.min() < _RANGE[0] or result.max() > _RANGE[1]:
            raise ValueError(f"{name} does not return display values from 0 to 1. Leave it out")
        if len(np.unique(result)) < min(_FEWEST_LEVELS, len(np.unique(noise))):
            raise ValueError(
                f"{name} goes through 8 bits or less: of {noise.size} grey levels it leaves {len(np.unique(result))}."
                " Leave it out; LocalContrast replaces CLAHE and Equalize"
            )
