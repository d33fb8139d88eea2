"""Which readable films are taken: named rules, each switched in the settings, each a row with its reason.

``scan`` marks a film with every rule that its header falls under; ``shard`` decides by its settings, so that another
choice needs no other scan. A film under several rules needs all of them set to keep. The rules:

mammography, intra_oral   DX-like objects of these SOP classes (PS3.4 B.5)
fluoroscopy               single frames of XA and RF objects: spot films, often with text of the workstation
localizer                 Image Type LOCALIZER or SCOUT, also those that CT stores
for_processing            raw detector data, which have no look of their own
processing_twin           raw data of an exposure whose film for presentation is taken; counts as dropped
burned_in_annotation      Burned In Annotation YES
secondary_capture         SOP class, media class or equipment of a secondary capture (PS3.3 C.8.6.1)
digitized_film            a scanned sheet, with whatever its label says
screenshot                Image Type, Conversion Type or software says so, or an image file has a screen's size
photograph                an image file with the settings of a camera: a sheet on a light box, or a screen
empty_exposure            nothing but air, by its pixels

The rules from ``burned_in_annotation`` to ``photograph`` are the quarantine: these films may bear a name in their
pixels. Documents (reports, PDF, presentation states) hold no film and are rejected as such, without a switch.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.config import SelectionSettings
from data_prep.errors import Reason

HEADER_RULES = tuple(Reason(name) for name in SelectionSettings.model_fields if name != Reason.EMPTY_EXPOSURE)
"""In the order in which they give the reason where several apply."""
QUARANTINE = frozenset(HEADER_RULES[HEADER_RULES.index(Reason.BURNED_IN_ANNOTATION) :])

_GRAIN = 4
"""Pixels over which noise may be correlated, by the detector's blur."""
_CELLS = 64
"""Cells along the longer side for :func:`empty_exposure`."""
_STEP_NOISE = 5.0
"""A step between cells is structure from this many standard deviations of a cell's mean."""
_STEP_RANGE = 0.004
"""… and from this part of the film's range."""
_LINE = 0.6
"""Part of a line of cells that steps together at the edge of a collimator."""
_MAX_LINES = 8
"""Such lines in one direction: two blades, each with a soft edge."""
_CLEAR_NOISE = 10.0
_CLEAR_STRUCTURE = 0.2
"""Where more pixels than this differ by so much noise from others a cell away, the film is not empty."""
_NOISE_ROWS = 24
"""Rows that are enough to measure noise."""
_MAX_STRUCTURE = 0.008
"""Steps that an empty exposure may still have: a side marker, a scratch."""


def marks(rules: Iterable[Reason]) -> str | None:
    """Rules as the manifest stores them: names with a space between, in their order; None for none."""
    found = set(rules)
    return " ".join(rule.value for rule in HEADER_RULES if rule in found) or None


def select(manifest: pa.Table, selection: SelectionSettings, min_side: int) -> pa.ChunkedArray:
    """[rows of the manifest] why each file is no film: its own reason, or the first of its rules that rejects; or null.

    ``too_small`` comes first: less than ``min_side`` rows or columns are no film, whatever else they are.

    Raw data count as a twin only where the film for presentation of the same exposure is itself taken.
    """
    marked = pc.fill_null(manifest["marks"], "")
    raw = (Reason.FOR_PROCESSING, Reason.PROCESSING_TWIN)
    small = pc.less(pc.min_element_wise(manifest["rows"], manifest["columns"]), min_side)
    small = pc.and_(pc.is_null(manifest["reason"]), pc.fill_null(small, False))
    reason = pc.if_else(small, Reason.TOO_SMALL.value, manifest["reason"])
    verdict = _verdict(reason, marked, [rule for rule in HEADER_RULES if rule not in raw], selection)
    here = pc.or_(pc.is_null(verdict), pc.fill_null(pc.equal(verdict, Reason.ALREADY_SHARDED.value), False))
    taken = manifest["key"].filter(pc.and_(here, pc.invert(_under(marked, Reason.FOR_PROCESSING))))
    processing = pc.and_(_under(marked, Reason.FOR_PROCESSING), pc.is_null(verdict))
    twin = pc.and_(processing, pc.is_in(manifest["twin"], taken.combine_chunks().drop_null()))
    alone = pc.and_(processing, pc.invert(twin))
    for which, rule in ((twin, Reason.PROCESSING_TWIN), (alone, Reason.FOR_PROCESSING)):
        if selection.rejects(rule):
            verdict = pc.if_else(which, rule.value, verdict)
    return verdict


def _verdict(
    reason: pa.ChunkedArray, marked: pa.ChunkedArray, rules: list[Reason], selection: SelectionSettings
) -> pa.ChunkedArray:
    for rule in rules:
        if selection.rejects(rule):
            reason = pc.if_else(pc.and_(pc.is_null(reason), _under(marked, rule)), rule.value, reason)
    return reason


def _under(marked: pa.ChunkedArray, rule: Reason) -> pa.ChunkedArray:
    return pc.match_substring_regex(marked, rf"(^| ){rule.value}( |$)")


def empty_exposure(values: NDArray[np.uint16], hidden: NDArray[np.bool_]) -> bool:
    """Whether a film shows nothing but air, even if a collimator's blades frame it.

    Between the means of neighbouring cells there is no step beyond noise, but for straight lines across the film. The
    slow fall of intensity along the tube's axis (heel effect) makes no step. In doubt, a film is not empty.

    Args:
        values: [rows, columns] stored or shard values; any window, any polarity.
        hidden: [rows, columns] padding and shutter, which do not count.
    """
    scale = _CELLS / max(values.shape)
    if scale > 1 / _GRAIN or min(values.shape) < 4 * _GRAIN:  # too small to tell noise from structure
        return False
    fine, lowest = _noise(values, ~hidden), _STEP_RANGE * float(values.max())
    points = values[:: round(1 / scale), :: round(1 / scale)].astype(np.float32)
    if (np.abs(np.diff(points)) > max(_CLEAR_NOISE * fine, lowest)).mean() > _CLEAR_STRUCTURE:
        return False  # nearly every film, at no cost
    size = tuple(max(2, round(side * scale)) for side in values.shape)
    cells = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    seen = cv2.resize((~hidden).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.999
    if seen.mean() < 0.1:
        return False
    coarse, shown = (
        cv2.resize(one, None, fx=1 / _GRAIN, fy=1 / _GRAIN, interpolation=cv2.INTER_AREA)
        for one in (values, (~hidden).astype(np.float32))
    )
    noise = max(fine, _GRAIN * _noise(coarse, shown > 0.999)) * scale  # of the mean of 1 / scale² pixels
    limit = max(_STEP_NOISE * noise, lowest)
    structure, pairs = 0, 0
    for axis in (0, 1):
        steps = np.abs(np.diff(cells, axis=axis)) > limit
        valid = np.delete(seen, 0, axis) & np.delete(seen, -1, axis)
        steps &= valid
        line = steps.mean(axis=1 - axis, keepdims=True) > _LINE
        if line.sum() > _MAX_LINES:
            return False
        structure += int((steps & ~_grown(line, axis)).sum())
        pairs += int(valid.sum())
    return structure < _MAX_STRUCTURE * pairs


def _grown(line: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """The lines and their neighbours: a blade's edge is soft."""
    grown = line.copy()
    for shift in (-1, 1):
        grown |= np.roll(line, shift, axis)
    return grown


def _noise(values: NDArray[np.uint16], seen: NDArray[np.bool_]) -> float:
    """Standard deviation of the pixels' noise, by the median of second differences, which slow changes do not reach."""
    every = slice(None, None, max(1, values.shape[0] // _NOISE_ROWS))
    rows, known = values[every].astype(np.float32), seen[every]
    second = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])[known[:, 2:] & known[:, 1:-1] & known[:, :-2]]
    return float(np.median(second)) / 0.6745 / 6**0.5 if second.size else 0.0
