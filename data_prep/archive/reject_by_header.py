"""Selection rules: ``scan`` marks each film with the rules that apply, ``shard`` rejects films by its settings.

Another choice of settings needs no other scan. A film under several rules is kept only if all of them are set to keep.

mammography, intra_oral   DX-like objects of these SOP classes (PS3.4 B.5)
fluoroscopy               single frames of XA and RF objects: spot films, often with text of the workstation
localizer                 Image Type LOCALIZER or SCOUT, also those that CT stores
for_processing            raw detector data, without processing for display
processing_twin           raw data of an exposure whose film for presentation is kept; counts as dropped
burned_in_annotation      Burned In Annotation YES
secondary_capture         SOP class, media class or equipment of a secondary capture (PS3.3 C.8.6.1)
digitized_film            a scanned sheet, including the text of its label
screenshot                by Image Type, Conversion Type or software, or an image file has the size of a screen
photograph                an image file with the settings of a camera: a sheet on a light box, or a screen
empty_exposure            only air, by the pixels

The rules from ``burned_in_annotation`` to ``photograph`` are the quarantine: the pixels of these films can show a name.
Documents (reports, PDF, presentation states) hold no film and are always rejected.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import Reason

HEADER_RULES = tuple(Reason(name) for name in SelectionSettings.model_fields if name != Reason.EMPTY_EXPOSURE)
"""Rules that are decided by the header, in order of precedence of the reason."""

QUARANTINE = frozenset(HEADER_RULES[HEADER_RULES.index(Reason.BURNED_IN_ANNOTATION) :])


def format_marks(rules: Iterable[Reason]) -> str | None:
    """Format rules for the column ``marks`` of the manifest: names joined by spaces, in order; None for no rule."""
    names = set(rules)
    return " ".join(rule.value for rule in HEADER_RULES if rule in names) or None


def select(manifest: pa.Table, selection: SelectionSettings, min_side: int) -> pa.ChunkedArray:
    """Decide for each file why it is rejected.

    A file with a reason of its own keeps it. ``too_small`` precedes all rules. Raw data are a processing twin only if
    the film for presentation of the same exposure is kept.

    Args:
        manifest: rows of a scan (MANIFEST_SCHEMA).
        selection: which rules reject.
        min_side: least number of rows and of columns of a film.

    Returns:
        [rows of the manifest] name of the reason; null for a film that is kept.
    """
    marks = pc.fill_null(manifest["marks"], "")
    raw_rules = (Reason.FOR_PROCESSING, Reason.PROCESSING_TWIN)
    is_small = pc.less(pc.min_element_wise(manifest["rows"], manifest["columns"]), min_side)
    is_small = pc.and_(pc.is_null(manifest["reason"]), pc.fill_null(is_small, False))
    reasons = pc.if_else(is_small, Reason.TOO_SMALL.value, manifest["reason"])
    reasons = _apply_rules(reasons, marks, [rule for rule in HEADER_RULES if rule not in raw_rules], selection)
    is_kept = pc.or_(pc.is_null(reasons), pc.fill_null(pc.equal(reasons, Reason.ALREADY_SHARDED.value), False))
    presentation_keys = manifest["key"].filter(pc.and_(is_kept, pc.invert(_has_mark(marks, Reason.FOR_PROCESSING))))
    is_raw = pc.and_(_has_mark(marks, Reason.FOR_PROCESSING), pc.is_null(reasons))
    is_twin = pc.and_(is_raw, pc.is_in(manifest["twin"], presentation_keys.combine_chunks().drop_null()))
    for applies, rule in (
        (is_twin, Reason.PROCESSING_TWIN),
        (pc.and_(is_raw, pc.invert(is_twin)), Reason.FOR_PROCESSING),
    ):
        if selection.rejects(rule):
            reasons = pc.if_else(applies, rule.value, reasons)
    return reasons


def _apply_rules(
    reasons: pa.ChunkedArray, marks: pa.ChunkedArray, rules: list[Reason], selection: SelectionSettings
) -> pa.ChunkedArray:
    for rule in rules:
        if selection.rejects(rule):
            reasons = pc.if_else(pc.and_(pc.is_null(reasons), _has_mark(marks, rule)), rule.value, reasons)
    return reasons


def _has_mark(marks: pa.ChunkedArray, rule: Reason) -> pa.ChunkedArray:
    return pc.match_substring_regex(marks, rf"(^| ){rule.value}( |$)")
