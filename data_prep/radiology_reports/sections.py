"""Split a report into sections and sentences, with their offsets.

A report without headings is one findings section. A heading stands alone on a line, or before a colon at the beginning
of a line or sentence. Anatomy before a colon, or as a whole sentence ("Right hand: …", "Right hand. …"), is a topic:
it applies to the rest of the paragraph, or of the item of a numbered list.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from data_prep.radiology_reports.finding_words import is_only_a_place, names_a_place
from data_prep.radiology_reports.phrases import lowered, read_word_list

Kind = Literal["title", "indication", "technique", "comparison", "findings", "impression"]


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        start, stop: characters of the report.
        section: that it stands in.
        topic: anatomy that it stands under, in lower case; empty where there is none.
    """

    start: int
    stop: int
    section: Kind
    topic: str = ""


def split_sentences(text: str) -> list[Sentence]:
    """Split a report into its sentences, in their order, without headings and topics."""
    sentences: list[Sentence] = []
    for kind, start, stop in _sections(text):
        topic, end = "", start
        for first, last in _sentence_spans(text, start, stop):
            if "\n\n" in text[end:first] or _NEW_ITEM.match(text, first):
                topic = ""
            begin, end = first, last
            match = _TOPIC.match(text, first, last)
            if match and names_a_place(lowered(match[1])):
                topic, begin = lowered(match[1]), match.end()
            elif not match and is_only_a_place(lowered(text[first:last])):
                topic, begin = lowered(text[first:last]), last
            if begin < last:
                sentences.append(Sentence(begin, last, kind, topic))
    return sentences


def _sections(text: str) -> list[tuple[Kind, int, int]]:
    """(kind, start, stop) of the texts below the headings."""
    spans: list[tuple[Kind, int, int]] = []
    kind: Kind = "findings"
    start, kinds = 0, _headings()
    for heading in _heading_pattern().finditer(lowered(text)):
        name = next(group for group in heading.groups() if group)
        spans.append((kind, start, heading.start()))
        kind, start = kinds[re.sub(r"\s+", " ", name)], heading.end()
    spans.append((kind, start, len(text)))
    return [(kind, start, stop) for kind, start, stop in spans if text[start:stop].strip()]


@cache
def _headings() -> dict[str, Kind]:
    return {phrase: entry.key for entry in read_word_list("sections") for phrase in entry.phrases}  # type: ignore[misc]


@cache
def _heading_pattern() -> re.Pattern[str]:
    names = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(_headings(), key=len, reverse=True))
    before_colon = rf"(?:^[ \t]*[*#>_]*|(?<=[.?!])[ \t]+)({names})[*_]*[ \t]*:"
    alone = rf"^[ \t]*[*#>_]*({names})[*_]*[ \t]*$"
    return re.compile(f"{before_colon}|{alone}", re.MULTILINE)


_TOPIC = re.compile(r"[ \t]*(?:[-*•–]\s+|\(?\d{1,2}[.)]\s+)?([^\W\d_][^:.,;?!\n]{2,48}):(?=\s|$)[ \t\n]*")

_BEFORE_ORDINAL = (
    "der|die|das|des|dem|den|am|im|vom|zum|zur|und|bis|the|an|left|right|linke[nrs]?|rechte[nrs]?|links|rechts"
)
"""Words after which a number with a full stop is an ordinal."""
_SENTENCE_END = re.compile(r"[.?!]+(?=\s|$)|\n")


@cache
def _non_final_stop() -> re.Pattern[str]:
    """Matches up to a full stop inside a sentence: after an abbreviation, an ordinal, or the number of an item."""
    short = "|".join(re.escape(phrase) for entry in read_word_list("abbreviations") for phrase in entry.phrases)
    ordinal = rf"(?:\b(?:{_BEFORE_ORDINAL})|[,\-–/+&]|\d\.)\s*\d{{1,2}}\.$"
    item = r"^\s*(?:\(?\d{1,2}[.)]|[-*•])\s*$"
    return re.compile(rf"(?:^|[\s(./])(?:{short})\.$|{ordinal}|{item}", re.IGNORECASE | re.MULTILINE)


_NEW_ITEM = re.compile(r"\s*(?:[-*•–]\s|\(?\d{1,2}[.)]\s)")


def _sentence_spans(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """(start, stop) of the sentences of text[start:stop], without surrounding white space."""
    width = max(map(len, text[start:stop].splitlines()), default=0)
    spans, first = [], start
    for end in _SENTENCE_END.finditer(text, start, stop):
        line = text.rfind("\n", start, end.start()) + 1 or start
        if end[0] == "\n":
            if not _is_break(text, line, end.start(), stop, width):
                continue
        elif end[0] == "." and _is_inside_sentence(text, max(line, first), end.end(), stop):
            continue
        spans.append((first, end.end()))
        first = end.end()
    spans.append((first, stop))
    stripped = (_strip_span(text, *span) for span in spans)
    return [(start, stop) for start, stop in stripped if start < stop]


def _is_inside_sentence(text: str, line: int, end: int, stop: int) -> bool:
    """Whether the full stop before ``end`` is inside a sentence: abbreviation, ordinal, lower case after it."""
    if _non_final_stop().search(text[line:end]):
        return True
    next_character = text[end:stop].lstrip(" \t")[:1]
    return next_character.islower()


def _is_break(text: str, line: int, end: int, stop: int, width: int) -> bool:
    """Whether the line end at ``end`` is intended, not an automatic line wrap of ``width`` characters."""
    next_line = text[end + 1 : stop].partition("\n")[0]
    line_text = text[line:end].rstrip()
    if not next_line.strip() or not line_text or _NEW_ITEM.match(next_line) or line_text[-1] in ".?!:;":
        return True
    return len(line_text) + 1 + len(next_line.split(maxsplit=1)[0]) <= min(width, _MAX_LINE_WIDTH)


_MAX_LINE_WIDTH = 200
"""Characters of a line that programs wrap at, at most."""


def _strip_span(text: str, start: int, stop: int) -> tuple[int, int]:
    inside = text[start:stop]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
