"""Reject films by selection rules: ``scan`` marks films with the rules that apply, ``shard`` decides by its settings.

A change of the settings needs no new scan. A film that several rules apply to is kept only if all are set to keep.

What each rule applies to: :class:`data_prep.archive.selection_settings.SelectionSettings`.
The rules from ``burned_in_annotation`` to ``photograph`` are the quarantine: the pixels of these films can show a name.
Documents (reports, PDF, presentation states) hold no film and are always rejected.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import Reason

HEADER_RULES = tuple(Reason(name) for name in SelectionSettings.model_fields if name != Reason.EMPTY_EXPOSURE)
"""Rules that are decided by the header. If several reject a film, the first one is its reason."""

QUARANTINE = frozenset(HEADER_RULES[HEADER_RULES.index(Reason.BURNED_IN_ANNOTATION) :])
"""Rules for films whose pixels can show the name of a patient."""


def format_marks(rules: Iterable[Reason]) -> str | None:
    """Format rules for the column ``marks`` of the manifest: names in the order of HEADER_RULES, joined by spaces.

    Returns:
        The text; None if ``rules`` has no header rule.
    """
    names = set(rules)
    return " ".join(rule.value for rule in HEADER_RULES if rule in names) or None


def find_reject_reasons(manifest: pa.Table, selection: SelectionSettings, min_side: int) -> pa.ChunkedArray:
    """Find the reason for which each file is rejected.

    A file that the scan has rejected keeps its reason. ``too_small`` precedes all rules. Raw data are a processing twin
    only if the film for presentation of the same exposure is kept.

    Args:
        manifest: rows of a scan (MANIFEST_SCHEMA).
        selection: action of each rule, keep or reject.
        min_side: least number of rows and of columns of a film, in pixels.

    Returns:
        [rows of the manifest] name of the reason, null for a film that is kept.
    """
    marks = pc.fill_null(manifest["marks"], "")
    raw_rules = (Reason.FOR_PROCESSING, Reason.PROCESSING_TWIN)
    is_small = pc.less(pc.min_element_wise(manifest["rows"], manifest["columns"]), min_side)
    is_small = pc.and_(pc.is_null(manifest["reason"]), pc.fill_null(is_small, False))
    reasons = pc.if_else(is_small, Reason.TOO_SMALL.value, manifest["reason"])
    reasons = _apply_rules(reasons, marks, [rule for rule in HEADER_RULES if rule not in raw_rules], selection)
    # a film of an earlier generation is kept there
    is_kept = pc.or_(pc.is_null(reasons), pc.fill_null(pc.equal(reasons, Reason.ALREADY_SHARDED.value), False))
    presentation_keys = manifest["key"].filter(pc.and_(is_kept, pc.invert(_has_mark(marks, Reason.FOR_PROCESSING))))
    is_raw = pc.and_(_has_mark(marks, Reason.FOR_PROCESSING), pc.is_null(reasons))
    is_twin = pc.and_(is_raw, pc.is_in(manifest["twin"], presentation_keys.combine_chunks().drop_null()))
    for is_rejected, rule in (
        (is_twin, Reason.PROCESSING_TWIN),
        (pc.and_(is_raw, pc.invert(is_twin)), Reason.FOR_PROCESSING),
    ):
        if selection.rejects(rule):
            reasons = pc.if_else(is_rejected, rule.value, reasons)
    return reasons


def _apply_rules(
    reasons: pa.ChunkedArray, marks: pa.ChunkedArray, rules: list[Reason], selection: SelectionSettings
) -> pa.ChunkedArray:
    """Fill in reasons that are null, by the first rule that rejects and whose mark the film has."""
    for rule in rules:
        if selection.rejects(rule):
            reasons = pc.if_else(pc.and_(pc.is_null(reasons), _has_mark(marks, rule)), rule.value, reasons)
    return reasons


def _has_mark(marks: pa.ChunkedArray, rule: Reason) -> pa.ChunkedArray:
    return pc.match_substring_regex(marks, rf"(^| ){rule.value}( |$)")
