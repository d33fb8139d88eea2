"""Form fields ("Fracture: no", "Fremdkörper = ja") and check boxes ("[x] no fracture") of a sentence.

A field is a name, a separator and an answer; what is before or behind it is read as text. Of boxes the ticked ones are
read: an answer ("yes [ ] no [x]") goes to the name before it, anything else stands as text. What stands beside an
empty box says nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from data_prep.radiology_reports.phrases import phrase_expression, read_word_list

_TICKED = r"\[[ \t]*[xX✓✔+*][ \t]*\]|\([ \t]*[xX✓✔+][ \t]*\)|[☑☒✓✔■●◉]"
_EMPTY = r"\[[ \t_]*\]|\([ \t_]*\)|[☐□◯○❏❑▢]"
BOX = re.compile(rf"(?P<ticked>{_TICKED})|{_EMPTY}")
_CHOICE = re.compile(r"[ \t]*[(\[]?(?:yes|ja|y|j)[ \t]*/[ \t]*(?:no|nein|n)[)\]]?[ \t]*(?=[:=?.])", re.IGNORECASE)
_SEPARATOR = r"(?<=[\w)\]])[ \t]*(?:[:=?]+|[ \t][-–—][ \t]|\t+|\|)[ \t\n]*"
_FIELD_END = (
    r"(?=[ \t]*(?:[.,;/|()\n_]|[-–—][ \t]|$)|[ \t]+(?:on|in|at|for|auf|im|bei|an|am|today|heute)\b"
    r"|[ \t]+[^\W\d_][^:=.;,\n]{0,30}[:=][ \t])"
)
_JOINT = re.compile(r"[,;/|]|\b(?:und|oder|and|or)\b")


@dataclass(frozen=True)
class Field:
    """A part of a sentence that is read by itself.

    Attributes:
        start, stop: characters of what is read: a text, or the name of a field.
        answer: absent, present, uncertain or not_mentioned; empty where it is a text.
    """

    start: int
    stop: int
    answer: str = ""


def split_fields(text: str, start: int, stop: int) -> list[Field]:
    """Split text[start:stop] at its form fields and check boxes.

    Args:
        text: in lower case.
        start, stop: a sentence, in characters.

    Returns:
        Its parts in their order; the sentence itself where it holds neither.
    """
    boxes = list(BOX.finditer(text, start, stop))
    return _read_boxes(text, start, stop, boxes) if boxes else list(_read_answers(text, start, stop))


def _read_answers(text: str, start: int, stop: int) -> Iterator[Field]:
    first = start
    for match in _patterns().field.finditer(text, start, stop):
        name_stop = _without_choice(text, first, match.start())
        name = _name_start(text, first, name_stop)
        if first < name:
            yield Field(first, name)
        yield Field(name, name_stop, _answer_of(match))
        first = match.end()
    if text[first:stop].strip(" \t\n.,;/|") or first == start:
        yield Field(first, stop)


def _without_choice(text: str, start: int, stop: int) -> int:
    """The end of the name before "(yes/no)"."""
    choice = _CHOICE.search(text, start, stop + 1)
    return choice.start() if choice and choice.end() == stop else stop


def _name_start(text: str, start: int, stop: int) -> int:
    """Where the name of a field begins: behind the last comma, unless all before it are single words as well."""
    joints = list(_JOINT.finditer(text, start, stop))
    items = [text[a:b].split() for a, b in _between(start, joints, stop)]
    if not joints or all(len(item) <= 1 for item in items):
        return start
    return joints[-1].end()


def _between(start: int, joints: list[re.Match[str]], stop: int) -> Iterator[tuple[int, int]]:
    for joint in joints:
        yield start, joint.start()
        start = joint.end()
    yield start, stop


def _read_boxes(text: str, start: int, stop: int, boxes: list[re.Match[str]]) -> list[Field]:
    """Read the items beside boxes, which stand before or behind them."""
    head = text[start : boxes[0].start()].strip()
    is_behind = bool(head) and head[-1] not in ":=?" and not text[boxes[-1].end() : stop].strip(" \t\n.,;")
    edges = [start, *(box.end() for box in boxes)] if is_behind else [*(box.end() for box in boxes)]
    limits = [box.start() for box in boxes] if is_behind else [*(box.start() for box in boxes[1:]), stop]
    fields: list[Field] = []
    name = (start, start) if is_behind else (start, boxes[0].start())
    ticked: list[str] = []
    has_answers = False
    for box, first, last in zip(boxes, edges, limits, strict=False):
        match = (_last_answer if is_behind else _first_answer)(text, first, last)
        if match is None or (not text[slice(*name)].strip(_FILLING) and text[match.end() : last].strip(_FILLING)):
            # an item of its own: "[x] no fracture"
            fields += [Field(first, last)] * bool(box["ticked"])
            continue
        before, behind = (first, match.start()), (match.end(), last)
        if is_behind and text[slice(*before)].strip(_FILLING):
            fields += _answered(name, ticked, has_answers)
            name, ticked = before, []
        has_answers = True
        ticked += [_answer_of(match)] * bool(box["ticked"])
        if not is_behind and text[slice(*behind)].strip(_FILLING):
            fields += _answered(name, ticked, has_answers)
            name, ticked, has_answers = behind, [], False
    fields += _answered(name, ticked, has_answers)
    return sorted(fields, key=lambda field: field.start)


_FILLING = " \t\n.,;:/|-*•–"


def _answered(name: tuple[int, int], ticked: list[str], has_answers: bool) -> list[Field]:
    """The field of a name and its ticked answers; a name without any answers is a text."""
    if not has_answers:
        return [Field(*name)] if name[0] < name[1] else []
    return [Field(*name, ticked[0] if len(ticked) == 1 else "uncertain" if ticked else "not_mentioned")]


def _first_answer(text: str, start: int, stop: int) -> re.Match[str] | None:
    return _patterns().first.match(text, start, stop)


def _last_answer(text: str, start: int, stop: int) -> re.Match[str] | None:
    return _patterns().last.search(text, start, stop)


def _answer_of(match: re.Match[str]) -> str:
    return str(match.lastgroup)


class _Patterns(NamedTuple):
    """Answers behind the name of a field, at the start of a text, and at its end."""

    field: re.Pattern[str]
    first: re.Pattern[str]
    last: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    phrases: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for entry in read_word_list("answers"):
        phrases[entry.key] += entry.phrases
    answers = "|".join(f"(?P<{kind}>{phrase_expression(phrases[kind])})" for kind in _KINDS)
    return _Patterns(
        re.compile(rf"{_SEPARATOR}(?:{answers}){_FIELD_END}"),
        re.compile(rf"[\s:]*(?:{answers})"),
        re.compile(rf"(?<![^\W_])(?:{answers})[\s:]*$"),
    )


_KINDS = ("not_mentioned", "uncertain", "absent", "present")
"""Of answers that begin alike the first counts: "nicht beurteilbar" is not "nicht"."""


def is_answer(text: str, start: int, stop: int) -> bool:
    """Whether text[start:stop] begins with the answer to the question before it ("Fracture? No.")."""
    return _patterns().field.match(text, start, stop) is not None
