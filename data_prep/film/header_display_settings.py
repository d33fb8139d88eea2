"""From shard values to display values in the standard's order: Modality LUT or rescale → VOI LUT or window → polarity.

Display values are uint16 over the declared range of the output, 0 dark and 65535 bright, never stretched to the least
and greatest value of a film (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2; PS3.4 N.2). Imported by ``mae_rad``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import items, numbers, word
from data_prep.dicom.lookup_table import LookupTable, read_lookup_table
from data_prep.shard_format.apply_display import (
    Brightness,
    Function,
    ValueRange,
    as_table,
    is_allowed_width,
    pack_table,
    windowed,
)
from data_prep.shard_format.sidecar import Display, Provenance

CONTENT_PERCENTILES = (0.5, 99.5)

MIN_SPREAD = 0.1
"""Part of the display range that these percentiles of the content have to span: less, and the film is one flat grey."""

MIN_UNCLIPPED = 0.02
"""Part of the content that has to lie within the range rather than at one of its ends."""

_COLOURS = ("RGB", "YBR", "PALETTE", "ARGB", "HSV", "CMYK")
"""Beginnings of the Photometric Interpretations that are not MONOCHROME."""

_PILE = 0.01
"""A value at an end of the range that so many pixels share is saturation or air, not content."""


def declared_range(values: ValueRange) -> Display:
    """The display of films without grey transforms of their own, such as PNG and JPEG: dark to bright as they are."""
    return _display(values, source="declared_range")


def has_grey_transforms(header: Any) -> bool:
    """Whether LUTs, rescale and windows of a header hold: not for colours (PS3.3 C.11.1, C.11.2)."""
    return header is not None and not word(header, "PhotometricInterpretation").startswith(_COLOURS)


def display_of(header: Any, values: ValueRange, counts: NDArray[np.int64]) -> Display:
    """How a DICOM film wants to be shown.

    Where header and film do not go together (no window, one of no width, outside the values, so narrow or wide that
    nothing is to be seen), percentiles of the content take the place of the window.

    Args:
        header: data set of the film.
        values: how shard values stand for the stored values that the header speaks of.
        counts: [2**bits] how often each shard value occurs in the film, without padding and shutter.
    """
    if not has_grey_transforms(header):
        return declared_range(values)
    notes: list[Provenance] = []
    invert = word(header, "PhotometricInterpretation") == "MONOCHROME1"
    windows = _windows(header)
    modality_table = _modality_table(header, values, notes)
    if modality_table is None:
        slope, intercept = _rescale(header, values, notes)
        inputs = values.stored() * slope + intercept
    else:
        slope, intercept = 1.0, 0.0
        inputs = modality_table(values.stored()).astype(np.float64)

    shown = partial(_display, values, invert=invert, windows=windows, slope=slope, intercept=intercept)
    voi_table = _voi_table(header, inputs)
    if voi_table is not None and _is_useful(brightness := voi_table(inputs) / voi_table.top, counts):
        notes += _shape_conflict(header, invert)
        return shown(source="voi_lut", table=_as_text(brightness, invert), provenance=notes)
    if items(header, "VOILUTSequence"):
        notes.append("voi_lut_unusable")
    source, center, width, function = _chosen_window(header, inputs, counts, windows, notes)
    table = None
    if modality_table is not None:
        table = _as_text(windowed(inputs, center, width, function), invert)
    notes += _shape_conflict(header, invert)
    return shown(source=source, center=center, width=width, function=function, table=table, provenance=notes)


def _as_text(brightness: Brightness, invert: bool) -> str:
    return pack_table(as_table(brightness, invert))


def _display(
    values: ValueRange,
    *,
    source: Literal["voi_lut", "window", "percentile", "declared_range"],
    slope: float = 1.0,
    intercept: float = 0.0,
    center: float | None = None,
    width: float | None = None,
    function: Function = "LINEAR",
    invert: bool = False,
    windows: Sequence[tuple[float, float]] = (),
    table: str | None = None,
    provenance: Sequence[Provenance] = (),
) -> Display:
    return Display(
        bits=values.bits,
        value_offset=values.offset,
        value_shift=values.shift,
        slope=slope,
        intercept=intercept,
        center=center,
        width=width,
        function=function,
        invert=invert,
        source=source,
        windows=list(windows),
        table=table,
        provenance=list(provenance),
    )


def _modality_table(header: Any, values: ValueRange, notes: list[Provenance]) -> LookupTable | None:
    """The Modality LUT, which excludes rescale (PS3.3 C.11.1)."""
    sequence = items(header, "ModalityLUTSequence")
    if not sequence:
        return None
    table = read_lookup_table(sequence[0], signed=values.offset > 0)
    notes.append("modality_lut_unusable" if table is None else "modality_lut")
    if table is not None and numbers(header, "RescaleSlope"):
        notes.append("rescale_beside_lut")
    return table


def _voi_table(header: Any, inputs: NDArray[np.float64]) -> LookupTable | None:
    """The first VOI LUT (PS3.3 C.11.2.1.1)."""
    sequence = items(header, "VOILUTSequence")
    return read_lookup_table(sequence[0], signed=bool(inputs.min() < 0)) if sequence else None


def _rescale(header: Any, values: ValueRange, notes: list[Provenance]) -> tuple[float, float]:
    """Rescale Slope and Intercept (PS3.3 C.11.1.1.2); ignored where they would make all values equal or infinite."""
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if not slope or not intercept:
        if slope or intercept:
            notes.append("rescale_unusable")
        return 1.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        inputs = values.stored() * slope[0] + intercept[0]
    usable = np.isfinite(inputs).all() and len(np.unique(inputs)) == len(inputs)
    if not usable:
        notes.append("rescale_unusable")
    return (slope[0], intercept[0]) if usable else (1.0, 0.0)


def _windows(header: Any) -> list[tuple[float, float]]:
    """(centre, width) of all windows; the first is the default."""
    return list(zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False))


def _chosen_window(
    header: Any,
    inputs: NDArray[np.float64],
    counts: NDArray[np.int64],
    windows: Sequence[tuple[float, float]],
    notes: list[Provenance],
) -> tuple[Literal["window", "percentile"], float, float, Function]:
    """The first window by its function, or percentiles of the content where it shows nothing."""
    if windows:
        center, width = windows[0]
        function = _function(header, notes)
        if is_allowed_width(width, function) and _is_useful(windowed(inputs, center, width, function), counts):
            return "window", center, width, function
    if windows or numbers(header, "WindowCenter") or numbers(header, "WindowWidth"):
        notes.append("window_unusable")
    return "percentile", *_percentile_window(inputs, counts), "LINEAR_EXACT"


def _function(header: Any, notes: list[Provenance]) -> Function:
    """VOI LUT Function (PS3.3 C.11.2.1.3)."""
    declared = word(header, "VOILUTFunction")
    if declared in ("LINEAR_EXACT", "SIGMOID"):
        return declared  # type: ignore[return-value]
    if declared not in ("", "LINEAR"):
        notes.append("function_unknown")
    return "LINEAR"


def _shape_conflict(header: Any, invert: bool) -> list[Provenance]:
    """Presentation LUT Shape has to be INVERSE for MONOCHROME1 and IDENTITY for MONOCHROME2 (PS3.3 C.8.11.3.1.2).

    It decides nothing: films with a wrong shape are widespread.
    """
    shape = word(header, "PresentationLUTShape")
    return ["presentation_shape_conflict"] if shape == ("IDENTITY" if invert else "INVERSE") else []


def _is_useful(brightness: Brightness, counts: NDArray[np.int64]) -> bool:
    """Whether anything is to be seen of the content."""
    low, high = _percentiles(brightness, counts)
    clipped = counts[(brightness < 0.002) | (brightness > 0.998)].sum()
    return bool(high - low >= MIN_SPREAD and clipped <= (1 - MIN_UNCLIPPED) * counts.sum())


def _percentile_window(inputs: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """(centre, width) for LINEAR_EXACT that spans the percentiles of the content, without piles at the ends."""
    present = np.flatnonzero(counts)
    content = counts.copy()
    for end in (present[0], present[-1]):
        if counts[end] > _PILE * counts.sum():
            content[end] = 0
    low, high = _percentiles(inputs, content if np.count_nonzero(content) > 1 else counts)
    if low == high:
        low, high = float(inputs[present].min()), float(inputs[present].max())
    return (low + high) / 2, high - low or 1.0


def _percentiles(of: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """CONTENT_PERCENTILES of the table ``of``, whose entries occur ``counts`` times."""
    order = np.argsort(of, kind="stable")
    reached = np.cumsum(counts[order])
    places = np.searchsorted(reached, np.array(CONTENT_PERCENTILES) / 100 * reached[-1])
    low, high = of[order[places]]
    return float(low), float(high)
