"""Values of a DICOM header that may be absent, empty or not valid."""

import math
from typing import Any


def numbers(header: Any, keyword: str) -> list[float]:
    """The finite numbers of an element; what is not a number is left out."""
    found = []
    for value in _values(header, keyword):
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found.append(number)
    return found


def integer(header: Any, keyword: str, default: int) -> int:
    """The first number of an element as a whole one."""
    found = numbers(header, keyword)
    return int(found[0]) if found else default


def words(header: Any, keyword: str) -> list[str]:
    """The values of an element as texts in capitals, without padding."""
    return [str(value).strip(" \0").upper() for value in _values(header, keyword)]


def word(header: Any, keyword: str) -> str:
    """The first value of an element as a text in capitals; empty where there is none."""
    return next(iter(words(header, keyword)), "")


def items(header: Any, keyword: str) -> list[Any]:
    """The items of a sequence."""
    return [item for item in _values(header, keyword) if hasattr(item, "get")]


def _values(header: Any, keyword: str) -> list[Any]:
    try:
        value = header.get(keyword)
    except Exception:  # pydicom converts late, and raises what an invalid value makes it stumble over
        return []
    if value is None or isinstance(value, bytes):
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "get"):
        return [value]
    return list(value)
