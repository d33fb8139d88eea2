"""Processor time of the loader, from the pixels that it decodes and puts out for a film.

HTJ2K decodes a film at 1/2, 1/4, ... of its sides: a film costs the pixels of the smallest of these that is at least as
large as the view, and those of its views. With large patches, views are large, and so are films decoded for them.
"""

import math
import time

import cv2
import numpy as np

from data_prep.shard_format.film_codec import decode_film, encode_film, reduction_for
from mae_rad.pretraining.settings import PretrainSettings

_SIDE = 1024
"""Side of the square film on which :func:`measure_pixel_seconds` measures."""


def pixels_per_film(settings: PretrainSettings, side: int) -> int:
    """Count the pixels that are decoded for a film, once for all its views, and those of the views.

    At a fixed scale (``scale: native``, ``mm_per_patch``) the whole film is decoded, and every view is taken as large
    as the film.

    Args:
        settings: of the run; T is that of its first stage.
        side: side of the stored films in pixels, taken as square and filled by their content.

    Returns:
        Pixels decoded and pixels of the views, together.
    """
    if settings.encoder.film_scale.is_fixed:
        return side**2 * (1 + len(settings.objective.views()))
    decoded, of_views = set[int](), 0
    for view in settings.objective.views().values():
        area = sum(view.augmentation.crop) / 2 if view.augmentation.crop else 1.0
        target = round(math.sqrt(view.tokens / area) * settings.encoder.patch)  # of the whole film at this scale
        decoded.add(reduction_for(side, side, target, target))
        of_views += view.tokens * settings.encoder.patch**2
    return int(sum((-(-side // 2**reduction)) ** 2 for reduction in decoded)) + of_views


def measure_pixel_seconds(seconds: float = 0.5) -> float:
    """Measure the processor time of a pixel on this machine: a noisy film is decoded at half size and scaled.

    Args:
        seconds: processor time of the measurement, at least.

    Returns:
        Seconds of one core per pixel, decoded and put out; the median of the repetitions.
    """
    values = np.random.default_rng(0).normal(2000, 200, (_SIDE, _SIDE)).clip(0, 4095).astype(np.uint16)
    stream, half, out = encode_film(values), _SIDE // 2, _SIDE // 3
    times: list[float] = []
    while sum(times) < seconds:
        began = time.process_time()
        decoded = decode_film(stream, bits=12, reduction=1)
        cv2.resize(decoded, (out, out), interpolation=cv2.INTER_AREA)
        times.append(time.process_time() - began)
    return float(np.median(times)) / (half**2 + out**2)
