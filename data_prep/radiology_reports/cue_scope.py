"""Which words of a sentence speak about which others: cues and how far they reach.

A cue reaches forward or backward from where it stands ("before" and "after" the finding in the word lists) up to an end
word or a semicolon. A comma, "and" or "or" lets it pass into a further item of a list, but not into a clause that
speaks of its own ("Kein Erguss, ZVK in situ"). Of overlapping cues the longest counts: "nicht auszuschließen"
excludes nothing. The approach is that of NegEx and ConText (Chapman 2001, Harkema 2009), with lists for German.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from data_prep.radiology_reports.finding_words import Qualifier
from data_prep.radiology_reports.language import Language
from data_prep.radiology_reports.phrases import WORDS, pattern, word_list

CUES = ("other_side", "hypothetical", "absent", "uncertain", "likely", "history", "follow_up")
"""What a cue makes of a finding; the first of several goes first. What is likely is uncertain, but less so."""

_JOINTS = {
    "de": re.compile(r",(?!\d)|\b(?:und|oder|sowie|noch|bzw\.?|beziehungsweise)\b|/"),
    "en": re.compile(r",(?!\d)|\b(?:and/or|and|or|nor)\b|/"),
}
_STOPS = re.compile(r"[;]|:(?!\s*(?:kein\w*|nein|none|no|negativ\w*)\s*\.?$)|\s[-–—]\s|\n\s*[-*•]|[()]")
_LINK = re.compile(
    r"\b(?:of|in|at|to|around|about|along|der|des|einer|eines|dieser|am|im|an|in|von|vom|um|zur|zum|beider|aller)\b"
)
_OF_NOW = frozenset({"absent", "uncertain", "likely", "hypothetical", "history"})
"""Cues that do not reach what is told of the past: "kein Pneumothorax nach ZVK-Anlage"."""
_FRAME = re.compile(r"\s+(?:kann|können|konnte|könnte|lässt|lassen|ist|sind|wird|werden|cannot|can|could|is|are)\b")
"""A verb right behind a finding, whose other half stands at the end."""
_ASIDE = re.compile("bei|mit|wegen|aufgrund|durch|trotz|with|due to|given|despite")
_OR = re.compile(r"oder|or|noch|nor|and/or|bzw|/")
_BARE_ITEM = 4
"""Words of a list item, at most."""


@dataclass(frozen=True)
class Cue:
    """A cue at text[start:stop]."""

    start: int
    stop: int
    kind: str
    direction: str


class Clause:
    """The cues of one sentence and the borders between its parts."""

    def __init__(self, low: str, start: int, stop: int, language: Language, places: Sequence[Qualifier] = ()) -> None:
        self.low, self.start, self.stop = low, start, stop
        self._places = places
        words = _assertion_words(language)
        self.cues = _cues(low, start, stop, words)
        self._troubles = [match.span() for match in words["trouble"][0][1].finditer(low, start, stop)]
        self._seen = [match.span() for match in words["seen"][0][1].finditer(low, start, stop)]
        self._closing = [match.span() for match in words["closing"][0][1].finditer(low, start, stop)]
        self._fresh = [match.span() for match in words["fresh"][0][1].finditer(low, start, stop)]
        ends = [*words["end"][0][1].finditer(low, start, stop), *_STOPS.finditer(low, start, stop)]
        self._ends = sorted(match.span() for match in ends if not self._in_cue(*match.span()))
        past = [cue for cue in self.cues if cue.kind == "history" and cue.direction == "before"]
        self._past = [(cue.start, cue.stop) for cue in past]
        joints = [match.span() for match in _JOINTS[language].finditer(low, start, stop)]
        self._joints = sorted(joint for joint in joints if not self._in_cue(*joint))

    def cues_of(self, start: int, stop: int) -> list[Cue]:
        """The cues that speak about text[start:stop]."""
        return [cue for cue in self.cues if self._reaches(cue, start, stop)]

    def is_trouble(self, cue: Cue, start: int, stop: int) -> bool:
        """Whether ``cue`` denies that something went wrong with the thing at text[start:stop], not the thing.

        What may go wrong is named between cue and thing, and linked to it ("keine Lockerung der Prothese"), or right
        behind it ("hardware failure").
        """
        left = cue.stop if cue.stop <= start else self.start
        behind = any(stop <= a and not self.low[stop:a].strip(" -") for a, _ in self._troubles)
        return behind or any(left <= a and self._linked(b, start) for a, b in self._troubles)

    def question(self, start: int, stop: int) -> Cue | None:
        """The question mark that asks for text[start:stop]."""
        mark = self.low.find("?", stop, self.stop)
        if mark < 0 or any(stop <= a < mark and self.low[a] in ";:." for a, _ in self._ends):
            return None
        return Cue(mark, mark + 1, "hypothetical", "after")

    def part(self, start: int, stop: int) -> tuple[int, int]:
        """Borders of the part between commas and the like that text[start:stop] stands in."""
        commas = [joint for joint in self._joints if self.low[joint[0]] == ","] + [
            end for end in self._ends if self.low[end[0]] in ";:.\n"
        ]
        left = max((b for _, b in commas if b <= start), default=self.start)
        right = min((a for a, _ in commas if a >= stop), default=self.stop)
        return left, right

    def with_afterthought(self, part: tuple[int, int]) -> tuple[int, int]:
        """``part`` and the few words that end the sentence behind it: "Fraktur, am ehesten älter"."""
        return part if len(WORDS.findall(self.low, part[1], self.stop)) > _BARE_ITEM else (part[0], self.stop)

    def is_seen(self, part: tuple[int, int]) -> bool:
        """Whether ``part`` says that a thing of the past is still to be seen: "Z.n. Fraktur, durchbaut"."""
        left, right = self.with_afterthought(part)
        return any(left <= a and b <= right for a, b in self._seen)

    def _in_cue(self, start: int, stop: int) -> bool:
        return any(cue.start <= start and stop <= cue.stop for cue in self.cues)

    def _linked(self, left: int, right: int) -> bool:
        """Whether a word like "of" leads from one place to a later one in the same item of a list."""
        return bool(_LINK.search(self.low, left, right)) and not (self._parted(left, right) or self._ended(left, right))

    def _parted(self, left: int, right: int) -> bool:
        return any(left <= a and b <= right for a, b in self._joints)

    def _ended(self, left: int, right: int) -> bool:
        return any(left <= a < right for a, _ in self._ends)

    def _reaches(self, cue: Cue, start: int, stop: int) -> bool:
        if cue.start < stop and start < cue.stop:
            return cue.direction == "within"
        if cue.direction == "anywhere":
            return True
        if cue.direction == "before" and cue.stop <= start:
            return self._forward(cue, start)
        if cue.direction == "after" and cue.start >= stop:
            return self._backward(cue, start, stop)
        return False

    def _forward(self, cue: Cue, start: int) -> bool:
        first = cue.stop + 1 if self.low[cue.stop : cue.stop + 1] == ":" else cue.stop
        if self._ended(first, start) or (cue.kind in _OF_NOW and any(first <= a < start for a, _ in self._past)):
            return False
        joints = [joint for joint in self._joints if cue.stop <= joint[0] < start]
        if not joints:
            return True
        if cue.kind not in ("absent", "hypothetical") and any(self.low[a] == "," for a, _ in joints):
            return False
        return not any(self._is_fresh(joint) or self._is_closed(cue, joint) for joint in joints)

    def _is_closed(self, cue: Cue, joint: tuple[int, int]) -> bool:
        """Whether the denial before a comma is complete: "kein Erguss nachweisbar, …"."""
        said = any(cue.stop <= a < b <= joint[0] and not self.low[b : joint[0]].strip() for a, b in self._closing)
        return said and not _OR.fullmatch(self.low[slice(*joint)].strip("."))

    def _is_fresh(self, joint: tuple[int, int]) -> bool:
        """Whether what follows a comma or "and" is a clause of its own, not the next item of a list."""
        a, b = joint
        if _OR.fullmatch(self.low[a:b].strip(".")):
            return False
        nexts = [joint for joint in self._joints if joint[0] >= b]
        stop = min([joint[0] for joint in nexts] + [end[0] for end in self._ends if end[0] >= b], default=self.stop)
        if nexts and nexts[0][0] == stop and _OR.match(self.low[slice(*nexts[0])]):  # "A, B oder C"
            return False
        opened = any(cue.direction == "before" and b <= cue.start < stop for cue in self.cues)
        located = any(b < place.start < stop and _LINK.search(self.low, b, place.start) for place in self._places)
        return opened or located or any(b <= fresh[0] <= stop for fresh in self._fresh)

    def _backward(self, cue: Cue, start: int, stop: int) -> bool:
        framed = _FRAME.match(self.low, stop) is not None  # "Eine Fraktur kann bei … nicht ausgeschlossen werden"
        ends = [span for span in self._ends if stop <= span[0] < cue.start]
        if any(not framed or not _ASIDE.fullmatch(self.low[slice(*span)]) for span in ends):
            return False
        joints = [joint for joint in self._joints if stop <= joint[0] < cue.start]
        if not joints:
            return True
        if cue.kind == "follow_up":  # "Fraktur des Radius, unverändert"
            return len(WORDS.findall(self.low, joints[-1][1], cue.start)) <= 1
        listed = self.low[joints[-1][0]] != ","  # "Frakturen, Luxationen oder Fremdkörper sind nicht erkennbar"
        left = max((b for _, b in self._joints + self._ends if b <= start), default=self.start)
        if not listed or cue.kind == "hypothetical" or any(left <= fresh[0] < joints[0][0] for fresh in self._fresh):
            return False
        return len(WORDS.findall(self.low, left, joints[0][0])) <= _BARE_ITEM


def _cues(low: str, start: int, stop: int, words: dict[str, list[tuple[str, re.Pattern[str]]]]) -> list[Cue]:
    hits = [
        Cue(match.start(), match.end(), kind, direction)
        for kind in (*CUES, "not")
        for direction, one in words.get(kind, ())
        for match in one.finditer(low, start, stop)
    ]
    hits.sort(key=lambda cue: (cue.start - cue.stop, CUES.index(cue.kind) if cue.kind in CUES else -1))
    taken: list[Cue] = []
    for cue in hits:
        if not any(cue.start < other.stop and other.start < cue.stop and _hides(other, cue) for other in taken):
            taken.append(cue)
    return [cue for cue in taken if cue.kind != "not"]


def _hides(longer: Cue, cue: Cue) -> bool:
    """A longer cue hides the shorter ones in it; of equal ones all stay, whatever side they speak to."""
    return (longer.start, longer.stop) != (cue.start, cue.stop)


@cache
def _assertion_words(language: Language) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Kind → (direction, phrases)."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for entry in word_list(f"assertion_{language}"):
        kind, _, direction = entry.key.partition(" ")
        grouped.setdefault((kind, direction), []).extend(entry.phrases)
    out: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for (kind, direction), phrases in grouped.items():
        out.setdefault(kind, []).append((direction, pattern(phrases)))
    return out
