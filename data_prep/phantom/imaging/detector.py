"""Models the detector: scatter, quantum noise, blur, logarithm, and the processing of the scanner.

Values of a log film are ln(open beam / detected), which increase with attenuation: bone is bright.
"""

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Map
from data_prep.phantom.imaging.scanners import Look

_COLLIMATOR_LEAKAGE = 0.004
"""Fraction of the radiation that passes the collimator."""
_MIN_SIGNAL = 1e-4
_COARSE_FACTOR = 8


def scattered(attenuation: Map, ratio: float, reach: float) -> Map:
    """Compute the scattered radiation from the body.

    Args:
        attenuation: [rows, columns] attenuation.
        ratio: scattered per primary radiation behind the thickest part.
        reach: standard deviation of the spread, pixels.

    Returns:
        [rows, columns] scattered radiation, relative to the open beam.
    """
    small = _shrunk(attenuation, _COARSE_FACTOR)
    source = np.exp(-small) * np.minimum(small, 4) * np.float32(0.5 * ratio)
    spread = cv2.GaussianBlur(source, (0, 0), max(reach / _COARSE_FACTOR, 0.5), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(spread, attenuation.shape[::-1], interpolation=cv2.INTER_LINEAR))


def exposed(attenuation: Map, scatter: Map, quanta: float, blur: float, noise: Map | None) -> Map:
    """Compute the log film of a part of the detector.

    Args:
        attenuation: [rows, columns] attenuation.
        scatter: [rows, columns] scattered radiation, relative to the open beam.
        quanta: detected quanta per pixel in the open beam.
        blur: standard deviation of the point spread, pixels.
        noise: [rows, columns] standard normal noise; None for no noise.
    """
    signal = np.exp(-attenuation) + scatter
    if noise is not None:
        signal += np.sqrt(signal * np.float32(1 / quanta)) * noise
    signal = cv2.GaussianBlur(signal, (0, 0), blur)
    return np.asarray(-np.log(np.maximum(signal, np.float32(_MIN_SIGNAL))), dtype=np.float32)


def collimated(attenuation: Map, field: Map) -> Map:
    """Add the attenuation of the collimator.

    Args:
        attenuation: [rows, columns] attenuation.
        field: [rows, columns] 1 in the field, 0 outside.
    """
    return np.asarray(attenuation - np.log(np.maximum(field, np.float32(_COLLIMATOR_LEAKAGE))), dtype=np.float32)


def processed(log_film: Map, look: Look, field: Map) -> Map:
    """Apply the edge enhancement and the dynamic range compression of a scanner.

    Args:
        log_film: [rows, columns] log film.
        look: the scanner.
        field: [rows, columns] 1 in the field, 0 outside.
    """
    gain, radius = look.edge
    small = _shrunk(log_film, _COARSE_FACTOR)
    weight = _shrunk(field, _COARSE_FACTOR)
    reach = 0.06 * max(small.shape)
    local_mean = cv2.GaussianBlur(small * weight, (0, 0), reach) / np.maximum(
        cv2.GaussianBlur(weight, (0, 0), reach), 1e-3
    )
    coarse = cv2.resize(local_mean, log_film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    smoothed = cv2.GaussianBlur(log_film, (0, 0), radius)
    return np.asarray(
        log_film + np.float32(gain) * (log_film - smoothed) - np.float32(look.flatten) * coarse, dtype=np.float32
    )


def _shrunk(film: Map, factor: int) -> Map:
    size = (max(1, film.shape[1] // factor), max(1, film.shape[0] // factor))
    return np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA))
