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

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import Reason

HEADER_RULES = tuple(Reason(name) for name in SelectionSettings.model_fields if name != Reason.EMPTY_EXPOSURE)
"""In the order in which they give the reason where several apply."""

QUARANTINE = frozenset(HEADER_RULES[HEADER_RULES.index(Reason.BURNED_IN_ANNOTATION) :])


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
