"""The settings that a sweep varies: ``--over key=value,value,…``, or a range of numbers for trials."""

import math
from collections.abc import Collection, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

from mae_rad.errors import SettingsError

Scale = Literal["log", "uniform", "int"]
_SCALES: tuple[Scale, ...] = ("log", "uniform", "int")


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both included; ``log`` draws their logarithm evenly, ``int`` whole numbers."""

    scale: Scale
    low: float
    high: float


class Axis(NamedTuple):
    """A setting and its values.

    Attributes:
        key: dotted name of the setting.
        values: values as written; empty for a range.
        range: range of numbers; None for a list of values.
    """

    key: str
    values: tuple[str, ...]
    range: Range | None = None

    @property
    def text(self) -> str:
        """The values, as they are written."""
        return f"{self.range.scale}:{self.range.low}:{self.range.high}" if self.range else ",".join(self.values)

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that must be valid for all of them to be: those of the list, or the ends of the range."""
        if self.range is None:
            return self.values
        return str(self.range.low), str(self.range.high)


def read_axes(over: Sequence[str], settings: Sequence[str] = ()) -> list[Axis]:
    """Read the values of ``--over``.

    Args:
        over: ``key=value,value,…``, ``key=log:LOW:HIGH``, ``key=uniform:LOW:HIGH`` or ``key=int:LOW:HIGH`` each; commas
            in brackets belong to a value.
        settings: ``key=value`` settings that are given beside them.

    Returns:
        The axes in the order given.

    Raises:
        SettingsError: a key without values, a range without numbers, or a key or value that is given twice.
    """
    axes = [_axis(text) for text in over]
    fixed = [setting.partition("=")[0] for setting in settings]
    for place, axis in enumerate(axes):
        if axis.key in (earlier.key for earlier in axes[:place]):
            raise SettingsError(f"--over {axis.key} is given twice. Give all its values at once: {axis.key}=a,b,c")
        if axis.key in fixed:
            raise SettingsError(f"{axis.key} is given as a setting and as --over. Leave one of them out")
        numbers = [_number(value) for value in axis.values]
        if twice := [value for rank, value in enumerate(axis.values) if numbers[rank] in numbers[:rank]]:
            raise SettingsError(f"--over {axis.key} has the value {twice[0]} twice")
    return axes


def split_outside_brackets(text: str, marks: Collection[str]) -> list[str]:
    """Split at each of ``marks`` that is in no bracket.

    Args:
        text: to split.
        marks: single characters.
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if depth == 0 and character in marks:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _axis(text: str) -> Axis:
    key, equals, written = text.partition("=")
    scale, colon, ends = written.partition(":")
    if equals and key and colon and scale in _SCALES:
        return Axis(key, (), _range(text, scale, ends))
    values = tuple(split_outside_brackets(written, ","))
    if not equals or not key or not all(values):
        raise SettingsError(
            f"--over {text}: give key=value,value,… without empty values, or a range: key=log:1e-5:1e-3 (also uniform:,"
            " int:)."
        )
    return Axis(key, values)


def _number(value: str) -> Decimal | str:
    """A value by which equal ones are found: 1, 01 and 1.0 are one number."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return number if number.is_finite() else value


def _range(text: str, scale: Scale, ends: str) -> Range:
    convert = int if scale == "int" else float
    try:
        low, high = map(convert, ends.split(":"))
    except ValueError:
        raise SettingsError(f"--over {text}: give two {'whole ' * (scale == 'int')}numbers, {scale}:LOW:HIGH") from None
    if not (abs(low) < math.inf and abs(high) < math.inf):  # nor is nan
        raise SettingsError(f"--over {text}: LOW and HIGH must be finite numbers")
    if not low < high or (scale == "log" and low <= 0):
        above = " above 0" if scale == "log" else ""
        raise SettingsError(f"--over {text}: LOW{above} must be below HIGH")
    return Range(scale, low, high)
