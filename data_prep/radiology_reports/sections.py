"""Split a report into sections and sentences, with their offsets.

A report without headings is one findings section. A heading stands alone on a line, or before a colon at the beginning
of a line or sentence. Anatomy before a colon, or as a whole sentence ("Right hand: …", "Right hand. …"), is a topic:
it applies to the rest of the paragraph, or of the item of a numbered list. Form fields and ticked boxes are sentences
of their own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from data_prep.radiology_reports.finding_words import find_places, is_only_a_place, may_name_finding, names_a_place
from data_prep.radiology_reports.form_fields import BOX, is_answer, split_fields
from data_prep.radiology_reports.phrases import lowered, read_word_list

Kind = Literal["title", "indication", "technique", "comparison", "findings", "impression"]
_Heading = Kind | Literal["identifier"]
"""A section, or the number of the examination or patient: one line that starts no section."""
_STATING: frozenset[Kind] = frozenset(("findings", "impression"))


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        start, stop: characters of the report.
        section: that it stands in.
        topic: anatomy that it stands under, in lower case; empty where there is none.
        answer: to the field whose name the sentence is ("Fracture: no"): absent, present, uncertain or not_mentioned;
            empty where it is a text.
    """

    start: int
    stop: int
    section: Kind
    topic: str = ""
    answer: str = ""


def split_sentences(text: str) -> list[Sentence]:
    """Split a report into its sentences, in their order, without headings and topics."""
    sentences: list[Sentence] = []
    text_lower = lowered(text)
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
            for field in split_fields(text_lower, begin, last) if begin < last else ():
                read = _strip_span(text, field.start, field.stop)
                sentences += [Sentence(*read, kind, topic, field.answer)] * (read[0] < read[1])
    return sentences


def states_findings(text: str) -> bool:
    """Whether a report has a word or number below a heading of findings or impression, or without one that is known."""
    for kind, start, stop in _known_sections(text):
        unknown = None if kind in _STATING else _UNKNOWN_HEADING.search(text, start, stop)
        if (kind in _STATING or unknown) and _WORD.search(text, unknown.end() if unknown else start, stop):
            return True
    return False


_WORD = re.compile(r"[^\W_]")
_UNKNOWN_HEADING = re.compile(
    r"(?:^[ \t]*[*#>_]*[^\W\d_][^:\n]{1,80}:[*_]*[ \t]*$|\S[ \t]*\n[ \t]*\n[ \t]*[*#>_]*[^\W\d_][^:\n]{1,80}:(?=\s))",
    re.MULTILINE,
)
"""Inside a section, what may be a heading that no list holds: alone on a line, or at the beginning of a paragraph."""


_PLACE_HEADING = re.compile(r"\S[ \t]*\n[ \t]*\n[ \t]*([^\W\d_][^:\n]{1,80}:)[ \t]*$", re.MULTILINE)
"""An unknown heading that stands alone at the beginning of a paragraph."""


def _sections(text: str) -> Iterator[tuple[Kind, int, int]]:
    """(kind, start, stop) of the texts below the headings; a paragraph of its own below a place is findings."""
    for kind, start, stop in _known_sections(text):
        headings = () if kind in _STATING else _PLACE_HEADING.finditer(text, start, stop)
        place = next((match.start(1) for match in headings if find_places(lowered(match[1]), 0, len(match[1]))), None)
        yield kind, start, stop if place is None else place
        if place is not None:
            yield "findings", place, stop


def _known_sections(text: str) -> list[tuple[Kind, int, int]]:
    """(kind, start, stop) of the texts below the headings of the list."""
    spans: list[tuple[Kind, int, int]] = []
    kind: Kind = "findings"
    start, kinds = 0, _headings()
    for heading in _heading_pattern().finditer(lowered(text)):
        name = next(group for group in heading.groups() if group)
        found = kinds[re.sub(r"\s+", " ", name)]
        spans.append((kind, start, heading.start()))
        if found == "identifier":
            value = _IDENTIFIER_VALUE.match(text, heading.end())
            start = value.end() if value else heading.end()
        else:
            kind, start = found, heading.end()
    spans.append((kind, start, len(text)))
    return [(kind, start, stop) for kind, start, stop in spans if text[start:stop].strip()]


_IDENTIFIER_VALUE = re.compile(
    r"[ \t]*(?:\d{1,2}\.[ \t]*[^\W\d_]+\.?[ \t]+\d{4}|[^\s:]+(?:[ \t]+[^\s:]*\d\S*)*|\n[ \t]*(?=\S*\d)[^\s:]+[ \t]*$)",
    re.MULTILINE,
)
"""Behind a heading: a date, a word and what else of the line has digits; or a word with digits alone on the next."""


@cache
def _headings() -> dict[str, _Heading]:
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
_SENTENCE_END = re.compile(r"(?<![.?!])[.?!]+(?=\s|$)|\n")
_MAX_SENTENCE = 800
"""Characters of a sentence; a longer one is cut, so that the time to read a report is linear in its length."""
_LOOK_BACK = 60
"""Characters before a full stop that tell what it is."""
_LINK = (
    r"(?:of|in|at|to|the|an?|and|or|nor|with|for|from|by|on|no|"
    r"der|die|das|des|dem|den|eine[rsnm]?|ein|und|oder|noch|mit|von|vom|am|an|im|in|bei|auf|für|zu[mr]?|kein(?:e[rsnm]?)?)"
)
"""Words that never end a line that is complete."""
_ENDS_WITH_LINK = re.compile(rf"(?:(?<![^\W_]){_LINK}|[,/+&–-])\s*$", re.IGNORECASE)
_STARTS_WITH_LINK = re.compile(
    r"[ \t]*(?:(?:of|in|at|to|and|or|der|des|dem|den|und|oder|von|vom|am|an|im|bei)\b|[,;/+&)])"
)
_DENIAL = re.compile(r"(?:kein\w*|ohne|no|not|nil|without)\b")
_SHORTENED = re.compile(r"(?:[^\W\d_]*[bcdfgkpstz][lrv]|[^\W\d_]*[lrn]h|[^\W\d_aeiouyäöü]+|[^\W\d_]{1,2}|\d+)\.$", re.I)
"""A word that no vowel ends is an abbreviation: "displ.", "oberh.", "prox."."""


_ONE_LETTER = re.compile(r"(?:^|[\s(/.])([a-zäöüß])\.$")
_AFTER_NUMBER = re.compile(
    r"\d\s*[a-zäöüß]\.$|\b(?:typ|type|grad|grade|stadium|stage|weber|pauwels|teil|part|vitamin)\s+[a-z]\.$",
    re.IGNORECASE,
)
"""A letter that is a unit or a class: "5 m.", "Typ b."."""
_CUT_WORD = re.compile(r"[^\W\d_]*(?:[bcdfgkpstz][lrv]|[lrn]h)\.", re.IGNORECASE)
"""The part of _SHORTENED that ends no whole word and no name of capitals: "disl.", "oberh."."""
_NUMERAL, _ANOTHER_LETTER = re.compile(r"(?:[^\W\d_]|[^\W\d_]{2}\.)\s+[ivx]\.$"), re.compile(r"[^\W\d_]\.")
"""In capitals "MHK V." and "DIG. V." end a sentence, "V. A. FRAKTUR" does not."""
_WORD_OF_CAPITALS = re.compile(r"[^\W\d_]{2}")
_POINTERS = re.compile(r"\b(?:s\.\s?[ou]|o\.\s?ä|i\.\s?o)\.$")
"""Abbreviations at which a sentence may end: "s. o.", "o. ä."."""


def _is_one_letter(before: str) -> bool:
    """Whether a full stop is behind a word shortened to one small letter: "Kein Anhalt f. Fx.", "Z. n. Fraktur"."""
    return bool(_ONE_LETTER.search(before) and not _AFTER_NUMBER.search(before) and not _POINTERS.search(before))


@cache
def _non_final_stop() -> re.Pattern[str]:
    """Matches up to a full stop inside a sentence: after an abbreviation, an ordinal, or the number of an item."""
    short = "|".join(re.escape(phrase) for entry in read_word_list("abbreviations") for phrase in entry.phrases)
    ordinal = rf"(?:\b(?:{_BEFORE_ORDINAL})|[,\-–/+&]|\d\.)\s*\d{{1,2}}\.$"
    item = r"^\s*(?:\(?\d{1,2}[.)]|[-*•])\s*$"
    return re.compile(rf"(?:^|[\s(./])(?:{short})\.$|{ordinal}|{item}", re.IGNORECASE | re.MULTILINE)


_NEW_ITEM = re.compile(rf"\s*(?:[-*•–]\s|\(?(?:\d{{1,2}}|[a-h])[.)]\s|{BOX.pattern})")


def _sentence_spans(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """(start, stop) of the sentences of text[start:stop], without surrounding white space."""
    width = max(map(len, text[start:stop].splitlines()), default=0)
    spans, first, line = [], start, start
    for end in _SENTENCE_END.finditer(text, start, stop):
        line_start, line = line, (end.end() if end[0] == "\n" else line)
        if end[0] == "\n":
            if not _is_break(text, line_start, end.start(), stop, width):
                continue
        elif _is_inside_sentence(text, max(line, first), end, stop):
            continue
        spans.append((first, end.end()))
        first = end.end()
    spans.append((first, stop))
    pieces = (piece for span in spans for piece in _cut(text, *span))
    stripped = (_strip_span(text, *span) for span in pieces)
    return [(start, stop) for start, stop in stripped if start < stop]


def _is_answered(text: str, end: int) -> bool:
    """Whether the question mark before ``end`` has its answer behind it: "Fracture? No."."""
    return is_answer(lowered(text[end - 2 : end + _LOOK_BACK]), 1, _LOOK_BACK + 2)


def _cut(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut text[start:stop] before white space into pieces of at most _MAX_SENTENCE characters."""
    while stop - start > _MAX_SENTENCE:
        space = max(
            text.rfind(" ", start + 1, start + _MAX_SENTENCE), text.rfind("\n", start + 1, start + _MAX_SENTENCE)
        )
        cut = space if space > start else start + _MAX_SENTENCE
        yield start, cut
        start = cut
    yield start, stop


def _is_inside_sentence(text: str, line: int, mark: re.Match[str], stop: int) -> bool:
    """Whether a full stop or question mark behind text[line:] is inside a sentence.

    A full stop is behind an abbreviation or an ordinal; before a small letter also behind what may be an abbreviation
    that no list holds, and before a word that goes on with the sentence. A question mark is where nothing is before it,
    or its answer follows.
    """
    end = mark.end()
    if mark[0] == "?":
        return not text[line : mark.start()].strip(" \t-*•:(") or _is_answered(text, end)
    if mark[0] != ".":
        return False
    before = text[max(line, end - _LOOK_BACK) : end]
    if _non_final_stop().search(before) or _is_one_letter(before):
        return True
    after = text[end : min(end + _LOOK_BACK, stop)].lstrip(" \t")
    if _is_in_capitals(before + after):
        low = lowered(before)
        is_numeral = _NUMERAL.search(low) and not _ANOTHER_LETTER.match(after)
        return (_is_one_letter(low) and not is_numeral) or bool(_CUT_WORD.fullmatch(low.split()[-1]))
    if not after[:1].islower():
        return False
    word = before.split()[-1]
    is_shortened = (
        _SHORTENED.fullmatch(word)
        and not _AFTER_NUMBER.search(before)
        and not _DENIAL.match(after)
        and not may_name_finding(lowered(word))
    )
    return bool(_STARTS_WITH_LINK.match(after) or is_shortened)


def _is_in_capitals(text: str) -> bool:
    """Whether capitals are used for all words, so that they tell nothing: "KEIN ANHALT F. FX."."""
    return text == text.upper() and _WORD_OF_CAPITALS.search(text) is not None


def _is_break(text: str, line: int, end: int, stop: int, width: int) -> bool:
    """Whether the line end at ``end`` is intended, not an automatic line wrap of ``width`` characters."""
    newline = text.find("\n", end + 1, stop)
    next_line = text[end + 1 : stop if newline < 0 else newline]
    line_text = text[line:end].rstrip()
    if not next_line.strip() or not line_text or _NEW_ITEM.match(next_line):
        return True
    if _is_one_letter(line_text[-_LOOK_BACK:]):
        return False
    if line_text[-1] in ".?!:;":
        return True
    if width < _MIN_LINE_WIDTH:
        return not _goes_on(line_text[-_LOOK_BACK:], next_line.lstrip())
    return len(line_text) + 1 + len(next_line.split(maxsplit=1)[0]) <= min(width, _MAX_LINE_WIDTH)


def _goes_on(line: str, next_line: str) -> bool:
    """Whether a short line goes on: it ends with a linking word or an adjective, or a small letter follows."""
    if _ENDS_WITH_LINK.search(line) or _STARTS_WITH_LINK.match(next_line):
        return True
    word = line.rsplit(maxsplit=1)[-1]
    if next_line[0].islower():
        return word != lowered(word) or line != lowered(line)
    return word.islower() and word.endswith(("e", "en", "er", "es", "em")) and line != lowered(line)


_MIN_LINE_WIDTH, _MAX_LINE_WIDTH = 40, 200
"""Characters of a line that programs wrap at, at least and at most."""


def _strip_span(text: str, start: int, stop: int) -> tuple[int, int]:
    inside = text[start:stop]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
