"""Three scanners with their detector and processing, which do not depend on the content of the film."""

from dataclasses import dataclass, replace
from typing import Literal

EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

_MIN_BLUR = 0.3
"""Least point spread of a coarser detector, pixels."""


@dataclass(frozen=True)
class Look:
    """A scanner.

    Attributes:
        manufacturer: Manufacturer.
        model: Manufacturer's Model Name.
        modality: CR or DX.
        bits: Bits Stored.
        long_side: longer side of the film, pixels.
        quanta: detected quanta per pixel in the open beam.
        blur: standard deviation of the detector's point spread, pixels.
        edge: gain of the edge enhancement, and its radius in pixels.
        flatten: fraction of the coarse differences that the processing removes.
        shutter: whether pixels outside the field are blackened.
        function: VOI LUT Function.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        headroom: margin of the stored range below and above the values of the film, as fractions of their range.
        inverted_share: fraction of the films that are stored as MONOCHROME1.
        syntaxes: transfer syntax UIDs.
    """

    manufacturer: str
    model: str
    modality: Literal["CR", "DX"]
    bits: int
    long_side: int
    quanta: float
    blur: float
    edge: tuple[float, float]
    flatten: float
    shutter: bool
    function: Literal["LINEAR", "SIGMOID"]
    slope: float
    intercept: float
    headroom: tuple[float, float]
    inverted_share: float
    syntaxes: tuple[str, ...]

    def coarser(self, scale: float) -> "Look":
        """Make the scanner with ``scale`` times as many pixels per side, and the same dose and sharpness in mm."""
        return replace(
            self,
            long_side=round(scale * self.long_side),
            quanta=self.quanta / scale**2,
            blur=max(scale * self.blur, _MIN_BLUR),
            edge=(self.edge[0], max(scale * self.edge[1], _MIN_BLUR)),
        )


SCANNERS = (
    Look(
        "Philips Medical Systems", "DigitalDiagnost", "DX", 12, 1200, 3600.0, 0.75, (0.75, 2.4), 0.42, True,
        "LINEAR", 1.0, 0.0, (0.06, 0.1), 0.15, (EXPLICIT_LE, JPEG_LOSSLESS_SV1),
    ),
    Look(
        "FUJIFILM Corporation", "FCR CAPSULA", "CR", 10, 1000, 1700.0, 1.0, (0.45, 4.5), 0.3, False,
        "LINEAR", 1.0, 0.0, (0.02, 0.02), 0.8, (JPEG_LS, IMPLICIT_LE, JPEG_LOSSLESS_SV1),
    ),
    Look(
        "Agfa", "DX-D 300", "DX", 14, 1360, 2600.0, 0.85, (0.6, 3.2), 0.5, True,
        "SIGMOID", 0.5, -200.0, (0.15, 0.2), 0.35, (JPEG_2000, JPEG_LOSSLESS_SV1, EXPLICIT_LE),
    ),
)  # fmt: skip
