"""Derives the display of a film from its header: Modality LUT or rescale → VOI LUT or window → polarity.

Display values are uint16 over the declared range of the output, 0 dark and 65535 bright, not normalised to the minimum
and maximum of a film (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2; PS3.4 N.2).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.deidentify.allow_list import MAX_ABSOLUTE_VALUE, MAX_WINDOWS
from data_prep.dicom.header_values import code_string, items, numbers
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
"""Percentiles of the content that replace an unusable window."""

MIN_SPREAD = 0.1
"""Least distance of these percentiles as a fraction of the display range; a smaller one is a uniform grey."""

MIN_UNCLIPPED = 0.02
"""Least fraction of the content inside the display range, not at one of its ends."""

_COLOURS = ("RGB", "YBR", "PALETTE", "ARGB", "HSV", "CMYK")
"""Prefixes of the Photometric Interpretations other than MONOCHROME."""

_PILE_FRACTION = 0.01
"""Fraction of the pixels; a more frequent value at an end of the range is saturation or air, not content."""


def declared_range(values: ValueRange) -> Display:
    """The identity display, for films without grey transforms, such as PNG and JPEG."""
    return _display(values, source="declared_range")


def has_grey_transforms(header: Any) -> bool:
    """Whether the LUTs, rescale and windows of a header apply; not to colour films (PS3.3 C.11.1, C.11.2)."""
    return header is not None and not code_string(header, "PhotometricInterpretation").startswith(_COLOURS)


def derive_display(header: Any, values: ValueRange, counts: NDArray[np.int64]) -> Display:
    """Derive the display of a DICOM film from its header.

    If the window is unusable for the film (missing, of no width, outside the values, or too narrow or wide), it is
    replaced by percentiles of the content.

    Args:
        header: data set of the film.
        values: mapping between shard values and stored values, to which the header refers.
        counts: [2**bits] number of pixels with each shard value, without padding and shutter.
    """
    if not has_grey_transforms(header):
        return declared_range(values)
    notes: list[Provenance] = []
    invert = code_string(header, "PhotometricInterpretation") == "MONOCHROME1"
    windows = _windows(header)
    modality_table = _modality_table(header, values, notes)
    if modality_table is None:
        slope, intercept = _rescale(header, values, notes)
        inputs = values.stored() * slope + intercept
    else:
        slope, intercept = 1.0, 0.0
        inputs = modality_table(values.stored()).astype(np.float64)

    published = [window for window in windows if _is_bounded(*window)][:MAX_WINDOWS]
    make_display = partial(_display, values, invert=invert, windows=published, slope=slope, intercept=intercept)
    voi_table = _voi_table(header, inputs)
    if voi_table is not None and _is_useful(brightness := voi_table(inputs) / voi_table.top, counts):
        notes += _shape_conflict(header, invert)
        return make_display(source="voi_lut", table=_packed_table(brightness, invert), provenance=notes)
    if items(header, "VOILUTSequence"):
        notes.append("voi_lut_unusable")
    source, center, width, function = _chosen_window(header, inputs, counts, windows, notes)
    table = None
    if modality_table is not None:
        table = _packed_table(windowed(inputs, center, width, function), invert)
    notes += _shape_conflict(header, invert)
    return make_display(source=source, center=center, width=width, function=function, table=table, provenance=notes)


def _packed_table(brightness: Brightness, invert: bool) -> str:
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
    """The Modality LUT, which replaces rescale (PS3.3 C.11.1)."""
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
    """Rescale Slope and Intercept (PS3.3 C.11.1.1.2); ignored if they make values equal or infinite."""
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if not slope or not intercept:
        if slope or intercept:
            notes.append("rescale_unusable")
        return 1.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        inputs = values.stored() * slope[0] + intercept[0]
    usable = _is_bounded(slope[0], intercept[0], float(inputs[0]), float(inputs[-1]))
    usable = usable and len(np.unique(inputs)) == len(inputs)
    if not usable:
        notes.append("rescale_unusable")
    return (slope[0], intercept[0]) if usable else (1.0, 0.0)


def _windows(header: Any) -> list[tuple[float, float]]:
    """(centre, width) of all windows; the first one is the default."""
    return list(zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False))


def _is_bounded(*values: float) -> bool:
    """Whether numbers are finite and within what stored values need; the sum of two stays publishable."""
    return all(math.isfinite(value) and abs(value) <= MAX_ABSOLUTE_VALUE / 2 for value in values)


def _chosen_window(
    header: Any,
    inputs: NDArray[np.float64],
    counts: NDArray[np.int64],
    windows: Sequence[tuple[float, float]],
    notes: list[Provenance],
) -> tuple[Literal["window", "percentile"], float, float, Function]:
    """The first window with its function, or percentiles of the content if it is unusable."""
    if windows:
        center, width = windows[0]
        function = _function(header, notes)
        is_allowed = _is_bounded(center, width) and is_allowed_width(width, function)
        if is_allowed and _is_useful(windowed(inputs, center, width, function), counts):
            return "window", center, width, function
    if windows or numbers(header, "WindowCenter") or numbers(header, "WindowWidth"):
        notes.append("window_unusable")
    return "percentile", *_percentile_window(inputs, counts), "LINEAR_EXACT"


def _function(header: Any, notes: list[Provenance]) -> Function:
    """VOI LUT Function (PS3.3 C.11.2.1.3)."""
    declared = code_string(header, "VOILUTFunction")
    if declared in ("LINEAR_EXACT", "SIGMOID"):
        return declared  # type: ignore[return-value]
    if declared not in ("", "LINEAR"):
        notes.append("function_unknown")
    return "LINEAR"


def _shape_conflict(header: Any, invert: bool) -> list[Provenance]:
    """Presentation LUT Shape has to be INVERSE for MONOCHROME1 and IDENTITY for MONOCHROME2 (PS3.3 C.8.11.3.1.2).

    It is not applied, since films with a wrong shape are frequent.
    """
    shape = code_string(header, "PresentationLUTShape")
    return ["presentation_shape_conflict"] if shape == ("IDENTITY" if invert else "INVERSE") else []


def _is_useful(brightness: Brightness, counts: NDArray[np.int64]) -> bool:
    """Whether the content spans enough of the display range and is not clipped."""
    low, high = _percentiles(brightness, counts)
    clipped = counts[(brightness < 0.002) | (brightness > 0.998)].sum()
    return bool(high - low >= MIN_SPREAD and clipped <= (1 - MIN_UNCLIPPED) * counts.sum())


def _percentile_window(inputs: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """(centre, width) for LINEAR_EXACT that spans the percentiles of the content, without frequent end values."""
    present = np.flatnonzero(counts)
    content = counts.copy()
    for end in (present[0], present[-1]):
        if counts[end] > _PILE_FRACTION * counts.sum():
            content[end] = 0
    low, high = _percentiles(inputs, content if np.count_nonzero(content) > 1 else counts)
    if low == high:
        low, high = float(inputs[present].min()), float(inputs[present].max())
    return (low + high) / 2, high - low or 1.0


def _percentiles(table: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """CONTENT_PERCENTILES of the entries of a table, which occur ``counts`` times."""
    sorted_entries = np.argsort(table, kind="stable")
    cumulative = np.cumsum(counts[sorted_entries])
    positions = np.searchsorted(cumulative, np.array(CONTENT_PERCENTILES) / 100 * cumulative[-1])
    low, high = table[sorted_entries[positions]]
    return float(low), float(high)
