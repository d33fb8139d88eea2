"""Allow-list of public files: a rule for every field; a field or value without a rule is not allowed.

The lists also screen the headers (``data_prep.deidentify.safe_header_values``).
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from data_prep.deidentify import safe_header_values
from data_prep.deidentify.image_type import is_image_type
from data_prep.deidentify.pseudonyms import SHIFT_RANGE_DAYS
from data_prep.deidentify.vocabulary import vocabulary
from data_prep.shard_format.apply_display import pack_table, unpack_table
from data_prep.shard_format.content_mask_bits import CONTENT_MASK_VERSION, pack_mask, unpack_mask
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.sidecar import MAX_FRAMES, SPLITS, Display, Provenance, Sidecar

Rule = Callable[[Any], bool]

_HEX = re.compile(r"[0-9a-f]+")
_STUDY_DAYS = range(-40_000, SHIFT_RANGE_DAYS + 60_000)
"""Day numbers from 1860 to 2134, shifted by up to a century."""
_SIDE_PIXELS = range(1, 65_536)
FACT_SOURCES = frozenset({"header", "path", "table", "correction"})
"""Where a fact of a film comes from."""
MAX_WINDOWS = 256
MAX_ABSOLUTE_VALUE = 2.0**40
"""Bound of window and rescale values, far above those that stored values need."""


def hexadecimal(value: Any, digits: int) -> bool:
    """Whether a value is a hash or key: lower-case hexadecimal text.

    Args:
        value: any value.
        digits: length of the text.
    """
    return isinstance(value, str) and len(value) == digits and _HEX.fullmatch(value) is not None


def standard_terms(name: str) -> frozenset[str]:
    """The standard terms of a vocabulary."""
    return frozenset(vocabulary(name).spellings.values())


def _key(value: Any) -> bool:
    return hexadecimal(value, 32)


def _or_none(rule: Rule) -> Rule:
    return lambda value: value is None or rule(value)


def _one_of(allowed: Any) -> Rule:
    return lambda value: value in allowed


def _integer_in(allowed: range) -> Rule:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value in allowed


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= MAX_ABSOLUTE_VALUE


def _spacing(value: Any) -> bool:
    return len(value) == 2 and all(_number(part) and 0 < part <= 1000 for part in value)


def _display(value: Any) -> bool:
    return isinstance(value, Display) and next(display_problems(value), None) is None


SIDECAR_RULES: dict[str, Rule] = {
    "format_version": _one_of({FORMAT_VERSION}),
    "key": _key,
    "frame": _or_none(_integer_in(range(MAX_FRAMES))),
    "patient": _key,
    "study": _key,
    "series": _key,
    "site": _or_none(_key),
    "patient_known": _one_of({True, False}),
    "study_day": _or_none(_integer_in(_STUDY_DAYS)),
    "split": _one_of(SPLITS),
    "body_part": _or_none(_one_of(standard_terms("body_part"))),
    "view": _or_none(_one_of(standard_terms("view"))),
    "laterality": _or_none(_one_of({"L", "R", "B"})),
    "sex": _or_none(_one_of({"F", "M", "O"})),
    "age_years": _or_none(_integer_in(range(safe_header_values.MAX_AGE + 1))),
    "manufacturer": _or_none(_one_of(standard_terms("manufacturer"))),
    "model": _or_none(lambda value: safe_header_values.model_name(value) == value),
    "bits_stored": _integer_in(range(1, 65)),
    "photometric": _one_of(safe_header_values.PHOTOMETRIC),
    "presentation_intent": _or_none(_one_of(safe_header_values.PRESENTATION_INTENT)),
    "rows": _integer_in(_SIDE_PIXELS),
    "columns": _integer_in(_SIDE_PIXELS),
    "source_rows": _integer_in(_SIDE_PIXELS),
    "source_columns": _integer_in(_SIDE_PIXELS),
    "pixel_spacing_mm": _or_none(_spacing),
    "pixel_spacing_from": _or_none(_one_of(safe_header_values.SPACING_ORIGINS)),
    "display": _display,
    "content_mask": lambda value: isinstance(value, str),  # checked with rows and columns by _is_canonical_mask
    "content_mask_version": _integer_in(range(1, CONTENT_MASK_VERSION + 1)),
    "pixel_sha256": _or_none(lambda value: hexadecimal(value, 64)),
}


INDEX_RULES: dict[str, Rule] = {
    "image_type": _or_none(is_image_type),
    "body_part_doubtful": _one_of({True, False, None}),
    **dict.fromkeys(
        ("body_part_from", "view_from", "laterality_from", "sex_from", "age_years_from"),
        _or_none(_one_of(FACT_SOURCES)),
    ),
}
"""Columns of the index that come from the manifest and are in no sidecar."""


def provenance(value: Any) -> bool:
    """Whether a value is a list of distinct provenance codes."""
    return len(set(value)) == len(value) and set(value) <= set(get_args(Provenance))


def sidecar_problems(sidecar: Sidecar) -> Iterator[str]:
    """Describe the fields of a sidecar that are not allowed; names fields, never values."""
    for name in type(sidecar).model_fields:
        rule = SIDECAR_RULES.get(name)
        if rule is None:
            yield f"the field {name} is not on the allow-list"
        elif not rule(getattr(sidecar, name)):
            yield f"{name} holds a value that is not on the allow-list"
    if not _is_canonical_mask(sidecar):
        yield "content_mask holds data beyond the mask"


def display_problems(display: Display) -> Iterator[str]:
    """Name the parts of a display that are not allowed."""
    numbers = (display.slope, display.intercept, display.center, display.width, *sum(display.windows, ()))
    if not all(number is None or _number(number) for number in numbers) or len(display.windows) > MAX_WINDOWS:
        yield "numbers out of range"
    if not provenance(display.provenance):
        yield "provenance"
    if display.table is not None and not _is_canonical_table(display.table, display.bits):
        yield "table"


def _is_canonical_table(packed: str, bits: int) -> bool:
    """Whether the text is exactly a packed display table."""
    try:
        return pack_table(unpack_table(packed, bits)) == packed
    except ValueError:
        return False


def _is_canonical_mask(sidecar: Sidecar) -> bool:
    try:
        return pack_mask(unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns)) == sidecar.content_mask
    except ValueError:
        return False
