"""The parts of a report under their headings, and the sentences in them, all with their place in the text.

A report without headings is findings. Headings stand alone on a line, or before a colon at the beginning of a line or
sentence. Anatomy before a colon, or as a sentence of its own ("Right hand: …", "Right hand. …"), is a topic: what
follows it in the paragraph, or in the item of a numbered list, is about it.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from data_prep.radiology_reports.finding_words import is_only_a_place, names_a_place
from data_prep.radiology_reports.phrases import lowered, word_list

Kind = Literal["title", "indication", "technique", "comparison", "findings", "impression"]


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report: text[start:stop]."""

    start: int
    stop: int
    section: Kind
    topic: str = ""
    """Anatomy that the sentence stands under, in lower case."""


def sentences(text: str) -> list[Sentence]:
    """All sentences in their order, without headings and topics."""
    out: list[Sentence] = []
    for kind, start, stop in _sections(text):
        topic, end = "", start
        for first, last in _split(text, start, stop):
            if "\n\n" in text[end:first] or _NEW_ITEM.match(text, first):
                topic = ""
            begin, end = first, last
            told = _TOPIC.match(text, first, last)
            if told and names_a_place(lowered(told[1])):
                topic, begin = lowered(told[1]), told.end()
            elif not told and is_only_a_place(lowered(text[first:last])):
                topic, begin = lowered(text[first:last]), last
            if begin < last:
                out.append(Sentence(begin, last, kind, topic))
    return out


def _sections(text: str) -> list[tuple[Kind, int, int]]:
    """(kind, start, stop) of the texts below the headings."""
    out: list[tuple[Kind, int, int]] = []
    kind: Kind = "findings"
    start, kinds = 0, _headings()
    for heading in _heading_pattern().finditer(lowered(text)):
        name = next(group for group in heading.groups() if group)
        out.append((kind, start, heading.start()))
        kind, start = kinds[re.sub(r"\s+", " ", name)], heading.end()
    out.append((kind, start, len(text)))
    return [(kind, start, stop) for kind, start, stop in out if text[start:stop].strip()]


@cache
def _headings() -> dict[str, Kind]:
    return {phrase: entry.key for entry in word_list("sections") for phrase in entry.phrases}  # type: ignore[misc]


@cache
def _heading_pattern() -> re.Pattern[str]:
    names = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(_headings(), key=len, reverse=True))
    before_colon = rf"(?:^[ \t]*[*#>_]*|(?<=[.?!])[ \t]+)({names})[*_]*[ \t]*:"
    alone = rf"^[ \t]*[*#>_]*({names})[*_]*[ \t]*$"
    return re.compile(f"{before_colon}|{alone}", re.MULTILINE)


_TOPIC = re.compile(r"[ \t]*(?:[-*•–]\s+|\(?\d{1,2}[.)]\s+)?([^\W\d_][^:.,;?!\n]{2,48}):(?=\s|$)[ \t\n]*")

_ARTICLES = "der|die|das|des|dem|den|am|im|vom|zum|zur|und|bis|the|an|left|right|linke[nrs]?|rechte[nrs]?|links|rechts"
"""Words after which a number and a full stop are an ordinal."""
_END = re.compile(r"[.?!]+(?=\s|$)|\n")


@cache
def _no_end() -> re.Pattern[str]:
    """Matches up to a full stop that ends no sentence: of an abbreviation, an ordinal, or the number of an item."""
    short = "|".join(re.escape(phrase) for entry in word_list("abbreviations") for phrase in entry.phrases)
    ordinal = rf"(?:\b(?:{_ARTICLES})|[,\-–/+&]|\d\.)\s*\d{{1,2}}\.$"
    item = r"^\s*(?:\(?\d{1,2}[.)]|[-*•])\s*$"
    return re.compile(rf"(?:^|[\s(./])(?:{short})\.$|{ordinal}|{item}", re.IGNORECASE | re.MULTILINE)


_NEW_ITEM = re.compile(r"\s*(?:[-*•–]\s|\(?\d{1,2}[.)]\s)")


def _split(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """(start, stop) of the sentences of text[start:stop], without blanks around them."""
    width = max(map(len, text[start:stop].splitlines()), default=0)
    out, first = [], start
    for end in _END.finditer(text, start, stop):
        line = text.rfind("\n", start, end.start()) + 1 or start
        if end[0] == "\n":
            if not _is_break(text, line, end.start(), stop, width):
                continue
        elif end[0] == "." and _goes_on(text, max(line, first), end.end(), stop):
            continue
        out.append((first, end.end()))
        first = end.end()
    out.append((first, stop))
    return [one for one in (_stripped(text, *span) for span in out) if one[0] < one[1]]


def _goes_on(text: str, line: int, end: int, stop: int) -> bool:
    """Whether the full stop before ``end`` ends no sentence: an abbreviation, an ordinal, or small letters follow."""
    if _no_end().search(text[line:end]):
        return True
    follows = text[end:stop].lstrip(" \t")[:1]
    return follows.islower()


def _is_break(text: str, line: int, end: int, stop: int, width: int) -> bool:
    """Whether the line end at ``end`` is one that the writer meant, and no wrapped line."""
    following = text[end + 1 : stop].partition("\n")[0]
    written = text[line:end].rstrip()
    if not following.strip() or not written or _NEW_ITEM.match(following) or written[-1] in ".?!:;":
        return True
    return len(written) + 1 + len(following.split(maxsplit=1)[0]) <= min(width, _WIDEST)


_WIDEST = 200
"""Characters of a line that a program wraps at, at most."""


def _stripped(text: str, start: int, stop: int) -> tuple[int, int]:
    inside = text[start:stop]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
