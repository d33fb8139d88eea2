"""Reads values of a DICOM header that may be absent, empty or not valid."""

import math
from typing import Any


def numbers(header: Any, keyword: str) -> list[float]:
    """Read the finite numbers of an element; other values are left out.

    Args:
        header: data set or sequence item.
        keyword: keyword of the element.
    """
    finite = []
    for value in _values(header, keyword):
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            finite.append(number)
    return finite


def integer(header: Any, keyword: str, default: int) -> int:
    """Read the first number of an element, truncated to an integer.

    Args:
        header: data set or sequence item.
        keyword: keyword of the element.
        default: result if the element has no number.
    """
    values = numbers(header, keyword)
    return int(values[0]) if values else default


def code_strings(header: Any, keyword: str) -> list[str]:
    """Read the values of an element as upper-case texts without padding.

    Args:
        header: data set or sequence item.
        keyword: keyword of the element.
    """
    return [str(value).strip(" \0").upper() for value in _values(header, keyword)]


def code_string(header: Any, keyword: str) -> str:
    """Read the first value of an element as an upper-case text without padding; empty if there is none.

    Args:
        header: data set or sequence item.
        keyword: keyword of the element.
    """
    return next(iter(code_strings(header, keyword)), "")


def items(header: Any, keyword: str) -> list[Any]:
    """Read the items of a sequence.

    Args:
        header: data set or sequence item.
        keyword: keyword of the sequence.
    """
    return [item for item in _values(header, keyword) if hasattr(item, "get")]


def _values(header: Any, keyword: str) -> list[Any]:
    try:
        value = header.get(keyword)
    except Exception:  # pydicom converts at the first access and raises exceptions of any type on invalid values
        return []
    if value is None or isinstance(value, bytes):
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "get"):
        return [value]
    return list(value)


def photometric_of(text: str, samples: int) -> str:
    """Correct a Photometric Interpretation (PS3.3 C.7.6.3.1.2): grey where it is missing, or one channel has colours.

    Args:
        text: of the header, in capitals; may be empty.
        samples: Samples per Pixel.
    """
    joined = "".join(text.split())
    if samples == 1 and (not joined or joined == "MONOCHROME" or joined.startswith(("RGB", "YBR"))):
        return "MONOCHROME2"
    return joined if joined in ("MONOCHROME1", "MONOCHROME2") else " ".join(text.split())
