"""From attenuation to a processed film: scatter, quanta, blur, logarithm, and the scanner's processing.

Values of a log film are ln(open beam / detected), larger where more is absorbed: bone bright on dark.
"""

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Map
from data_prep.phantom.imaging.scanners import Look

_LEAK = 0.004
"""What passes the collimator."""
_FLOOR = 1e-4
_COARSE = 8


def scattered(attenuation: Map, ratio: float, reach: float) -> Map:
    """Scatter from the body: primary weighted by what was absorbed, spread over ``reach`` pixels, ``ratio`` times."""
    small = _shrunk(attenuation, _COARSE)
    source = np.exp(-small) * np.minimum(small, 4) * np.float32(0.5 * ratio)
    spread = cv2.GaussianBlur(source, (0, 0), max(reach / _COARSE, 0.5), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(spread, attenuation.shape[::-1], interpolation=cv2.INTER_LINEAR))


def exposed(attenuation: Map, scatter: Map, quanta: float, blur: float, noise: Map | None) -> Map:
    """The log film of a part of the detector; ``noise`` is standard normal, None means no noise."""
    signal = np.exp(-attenuation) + scatter
    if noise is not None:
        signal += np.sqrt(signal * np.float32(1 / quanta)) * noise
    signal = cv2.GaussianBlur(signal, (0, 0), blur)
    return np.asarray(-np.log(np.maximum(signal, np.float32(_FLOOR))), dtype=np.float32)


def collimated(attenuation: Map, inside: Map) -> Map:
    """Attenuation with the collimator's lead outside of ``inside`` (1 in the field, 0 outside, soft edge)."""
    return np.asarray(attenuation - np.log(np.maximum(inside, np.float32(_LEAK))), dtype=np.float32)


def processed(log_film: Map, look: Look, inside: Map) -> Map:
    """Edge enhancement and flattening as the scanner does them; still larger where more is absorbed."""
    gain, radius = look.edge
    small = _shrunk(log_film, _COARSE)
    weight = _shrunk(inside, _COARSE)
    reach = 0.06 * max(small.shape)
    within = cv2.GaussianBlur(small * weight, (0, 0), reach) / np.maximum(cv2.GaussianBlur(weight, (0, 0), reach), 1e-3)
    coarse = cv2.resize(within, log_film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    fine = cv2.GaussianBlur(log_film, (0, 0), radius)
    return np.asarray(
        log_film + np.float32(gain) * (log_film - fine) - np.float32(look.flatten) * coarse, dtype=np.float32
    )


def _shrunk(film: Map, factor: int) -> Map:
    size = (max(1, film.shape[1] // factor), max(1, film.shape[0] // factor))
    return np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA))
