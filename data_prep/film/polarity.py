"""Detects films that are probably inverted (black and white exchanged); reported in the index, never corrected.

Headers are wrong in some archives: a film tagged MONOCHROME1 whose values already rise with attenuation is displayed
inverted. In a film of correct polarity air and collimation are dark and smooth: the upper and lower edge and the
corners are darker than the film, what has texture is bright, dark areas are larger than bright ones, and detail
(trabeculae, markers, wires) is brighter than its surroundings. Each of these measures changes its sign when the film is
inverted; their weighted sum is the evidence (logistic regression on films and their inverted copies, with and without
white borders).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_EVIDENCE = 2.0
"""Evidence from which a film is suspect."""
SENSITIVITY, FALSE_ALARMS = 0.925, 0.008
"""Share of inverted films and of correct ones above the limit: 2,419 and 21 of 2,615 real films (inverted limbs 92 %,
hands 90 %, chests 98 %), in five folds, so that no film was among those that gave its weights; with white borders drawn
around them 96 % and 0.9 %. Of limbs, hands or chests whose kind gave no weights 86 %, and 1.8 % false alarms. 39 limb
films that are inverted as published, by eye, count as inverted: 32 of them are found. Of ten DICOM films the one is
flagged that is wrongly tagged; the trimming of borders was chosen with the one of them that has white borders."""
_SIDE_PIXELS = 128
_WEIGHTS = (-5.7, -2.5, -5.5, 4.4, -7.1, -2.6, -3.7, 0.4, 7.4, -9.8, 18.8, 6.1, -5.4, -0.9, -5.7, 0.5)
"""Weights of the measures of the film, and of those of the film without smooth borders, in the order of _measures."""
_MAX_TRIMMED, _MIN_SIDE = 0.35, 24
"""Share of a side that smooth lines at one end may take, and pixels that stay."""
_SMOOTH = 0.008
"""Mean step between neighbouring pixels of a line below which it is smooth: a collimator or air."""
_FINE, _COARSE = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (3, 9))
_DARK, _BRIGHT = 0.15, 0.85
_MAX_SKEW = 5.0


def polarity_suspect(image: NDArray[np.uint16]) -> bool:
    """Whether a film [rows, columns] of display values is probably inverted."""
    return polarity_evidence(image) >= MIN_EVIDENCE


def polarity_evidence(image: NDArray[np.uint16]) -> float:
    """Evidence that a film [rows, columns] of display values is inverted; negative evidence is for correct polarity."""
    film = _normalised(image)
    if not float(film.std()) > 0:
        return 0.0
    return float(np.dot(_WEIGHTS, (*_measures(film), *_measures(_stretched(_without_smooth_borders(film))))))


def _without_smooth_borders(film: NDArray[np.float32]) -> NDArray[np.float32]:
    """The film without smooth lines along its edges, dark or bright: a white collimator is no sign of inversion."""
    first, last = _rough_lines(film)
    left, right = _rough_lines(film[first:last].T)
    first, last = _rough_lines(film[:, left:right])
    inside = film[first:last, left:right]
    return inside if min(inside.shape) >= _MIN_SIDE else film


def _rough_lines(film: NDArray[np.float32]) -> tuple[int, int]:
    """First row that is not smooth, and the row behind the last one."""
    is_smooth = np.abs(np.diff(film, axis=1)).mean(axis=1) < _SMOOTH
    most = int(len(film) * _MAX_TRIMMED)
    before, behind = (int(np.argmin(np.append(lines[:most], False))) for lines in (is_smooth, is_smooth[::-1]))
    return before, len(film) - behind


def _stretched(film: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(film.min()), float(film.max())
    return np.asarray((film - low) / max(high - low, 0.02), dtype=np.float32)


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
