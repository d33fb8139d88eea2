"""Detects films that are probably inverted (black and white exchanged); reported in the index, never corrected.

Headers are wrong in some archives: a film tagged MONOCHROME1 whose values already rise with attenuation is displayed
inverted. In a film of correct polarity air and collimation are dark and smooth: the upper and lower edge and the
corners are darker than the film, what has texture is bright, dark areas are larger than bright ones, and detail
(trabeculae, markers, wires) is brighter than its surroundings. Each of these measures changes its sign when the film is
inverted; their weighted sum is the evidence (logistic regression on films and their inverted copies).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_EVIDENCE = 2.0
"""Evidence from which a film is suspect."""
SENSITIVITY, FALSE_ALARMS = 0.96, 0.003
"""Share of inverted films above the limit, and of correct ones: 2,522 of 2,615 real films (limbs 96 %, chests 93 %, hands
99 %), and 7 of them, in five folds, so that no film was among those that gave its weights. Of a kind of films that gave
no weights (limbs, chests or hands left out) 92 % are found (chests 77 %), and 0.8 % are false alarms. 39 limb films that
are inverted as published, told by eye, count as inverted: 33 of them are above the limit."""
_SIDE_PIXELS = 128
_WEIGHTS = (7.0, -12.1, 12.9, 20.7, -15.1, -7.8, -6.8, 1.3)
"""Weights of the measures of :func:`_measures`, in their order."""
_FINE, _COARSE = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (3, 9))
_DARK, _BRIGHT = 0.15, 0.85
_MAX_SKEW = 5.0


def polarity_suspect(image: NDArray[np.uint16]) -> bool:
    """Whether a film [rows, columns] of display values is probably inverted."""
    return polarity_evidence(image) >= MIN_EVIDENCE


def polarity_evidence(image: NDArray[np.uint16]) -> float:
    """Evidence that a film [rows, columns] of display values is inverted; negative evidence is for correct polarity."""
    film = _normalised(image)
    return float(np.dot(_WEIGHTS, _measures(film))) if float(film.std()) > 0 else 0.0


def _measures(film: NDArray[np.float32]) -> tuple[float, ...]:
    """Measures that are 0 without evidence: brightness of edges, corners, textured areas, detail and dark areas."""
    rows, columns = film.shape
    top, bottom = float(film[: rows // 6].mean()) - 0.5, float(film[-(rows // 6) :].mean()) - 0.5
    down, across = rows // 10 + 1, columns // 8 + 1
    left, right = film[:, :across], film[:, -across:]
    corners = [part.mean() for side in (left, right) for part in (side[:down], side[-down:])]
    smooth = cv2.GaussianBlur(film, (0, 0), 1.5)
    texture = cv2.GaussianBlur(np.abs(film - smooth), (0, 0), 3)
    textured = smooth[texture >= np.percentile(texture, 80)]
    between = cv2.GaussianBlur(film, (0, 0), 2) - cv2.GaussianBlur(film, (0, 0), 4)
    skew = float(((between / max(float(between.std()), 1e-6)) ** 3).mean())
    return (
        top,
        bottom,
        float(np.median(corners)) - float(film.mean()),
        float(textured.mean()) - 0.5,
        _detail(film, _FINE),
        _detail(film, _COARSE),
        float((film < _DARK).mean()) - float((film > _BRIGHT).mean()),
        min(max(skew, -_MAX_SKEW), _MAX_SKEW),
    )


def _detail(film: NDArray[np.float32], kernel: NDArray[np.uint8]) -> float:
    """Bright against dark detail in the middle of the film, -1 to 1."""
    rows, columns = film.shape
    middle = np.s_[rows // 5 : rows - rows // 5, columns // 5 : columns - columns // 5]
    bright = float(cv2.morphologyEx(film, cv2.MORPH_TOPHAT, kernel)[middle].mean())
    dark = float(cv2.morphologyEx(film, cv2.MORPH_BLACKHAT, kernel)[middle].mean())
    return (bright - dark) / max(bright + dark, 1e-6)


def _normalised(image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The film resized to a longer side of _SIDE_PIXELS, with a range from 0 to 1."""
    scale = _SIDE_PIXELS / max(image.shape)
    size = tuple(max(16, round(side * scale)) for side in image.shape)
    film = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(film, (1, 99))
    return np.asarray(((film - low) / max(high - low, 1300)).clip(0, 1), dtype=np.float32)
