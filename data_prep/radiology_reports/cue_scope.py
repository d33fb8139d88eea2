"""The scope of negation, uncertainty and history cues in a sentence (NegEx, Chapman 2001; ConText, Harkema 2009).

The scope of a cue runs forward or backward from the cue ("before" and "after" the finding in the word lists) up to an
end word or a semicolon. It includes further items of a list (after a comma, "and" or "or"), but no new clause
("Kein Erguss, ZVK in situ"). Of overlapping cues the longest counts: "nicht auszuschließen" is not "auszuschließen".

Three things are not in the word lists. An exclusion that is itself denied leaves the finding uncertain ("does not
rule out …"), and so does a denial that is not proven ("… does not mean that there is no fracture"). A denial of
another thing says nothing of a finding that is told as known ("no gas around the bullet", "die Fraktur reicht nicht
bis …").
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from data_prep.radiology_reports.finding_words import Qualifier
from data_prep.radiology_reports.language import Language
from data_prep.radiology_reports.phrases import WORDS, compile_phrases, read_word_list

CUES = ("other_side", "hypothetical", "absent", "uncertain", "likely", "history", "follow_up")
"""Kinds of cues; where several apply to a finding, the first in this order counts. likely: uncertain, but probable."""

_JOINTS = {
    "de": re.compile(r",(?!\d)|\b(?:und|oder|sowie|noch|bzw\.?|beziehungsweise)\b|/"),
    "en": re.compile(r",(?!\d)|\b(?:and/or|and|or|nor)\b|/"),
}
_STOPS = re.compile(r"[;]|:(?!\s*(?:kein\w*|nein|none|no|negativ\w*)\s*\.?$)|\s[-–—]\s|\n\s*[-*•]|[()]")
_LINK = re.compile(
    r"\b(?:of|in|at|to|around|about|along|der|des|einer|eines|dieser|am|im|an|in|von|vom|um|zur|zum|beider|aller)\b"
)
_NOT_ACROSS_HISTORY = frozenset({"absent", "uncertain", "likely", "hypothetical", "history"})
"""Cues whose scope ends at a history cue: "kein Pneumothorax nach ZVK-Anlage"."""
_SPLIT_VERB = re.compile(
    r"\s+(?:kann|können|konnte|könnte|lässt|lassen|ist|sind|wird|werden|cannot|can|could|is|are)\b"
)
"""A finite verb directly after a finding; its other half ends the sentence."""
_OWN_CLAUSE = re.compile(
    r"\s*(?:eine?|die|der|das|an?|the|it|es|this|these)\b.*\b(?:ist|sind|war|waren|kann|können|lässt|lassen|wird|werden|is|are|was|were|can|cannot|could|has|have|shows?|zeigt)\b"
)
_INSERTION = re.compile("jedoch|aber|allerdings|however|bei|mit|wegen|aufgrund|durch|trotz|with|due to|given|despite")
_OR = re.compile(r"oder|or|noch|nor|and/or|bzw|/")
_NEGATOR = re.compile(
    r"\b(?:no|not|cannot|can't|couldn't|doesn't|don't|never|unable|impossible|difficult|insufficient\w*|fails?|failed|"
    r"nicht|kein\w*|kaum|schwer|schwierig|unmöglich|unzureichend\w*|misslingt|ohne|without)\b"
)
_REQUESTS = frozenset({"exclude", "rule out"})
"""What asks for an exclusion, where nothing denies it: "Rule out fracture."."""
_UNPROVEN = re.compile(
    r"\b(?:nicht|not|cannot|can't|never|kein\w*|no)\b(?:[\s,]+(?!zweifel|doubt)[^\W\d_]+){0,3}?[\s,]+(?:dass|daß|that)\b"
)
"""A proof that is denied: "does not mean that", "beweist nicht, dass"."""
_KNOWN = r"(?:the|this|these|that|those|his|her|its|der|die|das|des|dem|den|diese[rsnm]?|bekannte[rsnm]?|known)"
_NOUN_OF_EVIDENCE = (
    r"(?:evidence|signs?|suggestion|suspicion|indications?|visuali[sz]ation|demonstration|proof|trace|hint|remnants?|parts?|"
    r"nachweis\w*|anhalt\w*|hinweis\w*|\w*zeichen|verdacht\w*|beleg\w*|korrelat\w*|darstellung|rest\w*|anteile?|teile?|bild)"
)
_TOLD_AS_KNOWN = re.compile(
    rf"(?<![^\W_]){_KNOWN}\s+(?:(?!eine[rs]?\b|an?\b|{_NOUN_OF_EVIDENCE}\b)[^\W_]+[\s/-]+){{0,3}}$"
)
_EVIDENCE = re.compile(
    rf"\W*(?:[^\W\d_]+\W+){{0,3}}?{_NOUN_OF_EVIDENCE}\b"
    r"(?:\W+(?:of|for|auf|für|einer|eines|von|das|vorliegen|presence|the presence of|im sinne)\b)*"
)
"""What a denial may have between it and the finding that it denies."""
_NO_NOUNS = (
    r"(?:in|im|an|am|auf|bei|mit|von|vom|zu|zum|zur|unter|über|neben|of|at|on|to|within|with|by|for|mehr|sicher\w*|eindeutig\w*|"
    r"more|longer|definite|other|such|weiter\w*|frisch\w*|acute|new|neu\w*)"
)
_OTHER_NOUN = re.compile(rf"\W*(?:{_NO_NOUNS}\W+)*(?!{_NO_NOUNS}\b|{_KNOWN}\b)[^\W\d_]{{2,}}")
_MAX_ITEM_WORDS = 4
"""Words of a short item of a list, or of a short end of a sentence, at most."""


@dataclass(frozen=True)
class Cue:
    """A cue at text[start:stop].

    Attributes:
        start, stop: characters.
        kind: one of CUES.
        direction: position relative to the finding: before, after, within or anywhere; first: anywhere, where the cue
            begins the sentence.
    """

    start: int
    stop: int
    kind: str
    direction: str


class Clause:
    """The cues of one sentence and the boundaries between its parts.

    Args:
        text: the report in lower case (:func:`lowered`).
        start, stop: the sentence, in characters of ``text``.
        language: of the report.
        places, sides: named in the sentence.
    """

    def __init__(
        self,
        text: str,
        start: int,
        stop: int,
        language: Language,
        places: Sequence[Qualifier] = (),
        sides: Sequence[Qualifier] = (),
    ) -> None:
        self.text, self.start, self.stop = text, start, stop
        self._places, self._sides = places, sides
        words = _assertion_words(language)
        self.cues = _find_cues(text, start, stop, words)
        self._failures = [match.span() for match in words["trouble"][0][1].finditer(text, start, stop)]
        self._visible = [match.span() for match in words["seen"][0][1].finditer(text, start, stop)]
        self._denial_ends = [match.span() for match in words["closing"][0][1].finditer(text, start, stop)]
        self._clause_starts = [match.span() for match in words["fresh"][0][1].finditer(text, start, stop)]
        ends = [*words["end"][0][1].finditer(text, start, stop), *_STOPS.finditer(text, start, stop)]
        self._scope_ends = sorted(match.span() for match in ends if not self._is_in_cue(*match.span()))
        past = [cue for cue in self.cues if cue.kind == "history" and cue.direction == "before"]
        self._history = [(cue.start, cue.stop) for cue in past]
        joints = [match.span() for match in _JOINTS[language].finditer(text, start, stop)]
        self._joints = sorted(joint for joint in joints if not self._is_in_cue(*joint))
        exclusions = [
            (cue.start, cue.stop) for cue in self.cues if cue.kind == "exclusion" and cue.direction == "before"
        ]
        self.cues = self._resolve(self.cues)
        self._scope_ends = sorted([*self._scope_ends, *exclusions])

    def select_cues(self, start: int, stop: int) -> list[Cue]:
        """Select the cues whose scope contains a finding.

        Args:
            start, stop: the finding, in characters.

        Returns:
            Cues, the longest first.
        """
        return [cue for cue in self.cues if self._reaches(cue, start, stop)]

    def denies_failure(self, cue: Cue, start: int, stop: int) -> bool:
        """Whether ``cue`` denies a failure of the object at text[start:stop], not the object itself.

        The failure is named between cue and object and linked to it ("keine Lockerung der Prothese"), or directly
        after it ("hardware failure").

        Args:
            cue: whose scope contains the object.
            start, stop: the object, in characters.
        """
        return self.names_failure(start, stop, cue.stop if cue.stop <= start else self.start)

    def names_failure(self, start: int, stop: int, left: int | None = None) -> bool:
        """Whether a failure of the object at text[start:stop] is named behind ``left`` or directly after the object."""
        left = self.start if left is None else left
        behind = any(stop <= a and not self.text[stop:a].strip(" -") for a, _ in self._failures)
        return behind or any(left <= a and self._is_linked(b, start) for a, b in self._failures)

    def denies_another(self, cue: Cue, start: int) -> bool:
        """Whether ``cue`` denies another thing than the finding at ``start``, which is told as known.

        "no gas around the bullet", "keine Dislokation der Fraktur", "die Fraktur reicht nicht bis zum Gelenk".

        Args:
            cue: whose scope contains the finding.
            start: of the finding, in characters.
        """
        if cue.kind not in ("absent", "uncertain", "likely"):
            return False
        if self.text[cue.start : cue.stop] == "nicht":
            return _TOLD_AS_KNOWN.search(self.text, self.find_part(start, start)[0], start) is not None
        if cue.direction != "before" or cue.stop > start:
            return False
        left = max((b for _, b in self._joints if cue.stop <= b <= start), default=cue.stop)
        if evidence := _EVIDENCE.match(self.text, cue.stop, start):
            left = max(left, evidence.end())
        known = _TOLD_AS_KNOWN.search(self.text, left, start)
        return known is not None and _OTHER_NOUN.match(self.text, left, known.start()) is not None

    def find_question_mark(self, start: int, stop: int) -> Cue | None:
        """Find the question mark that applies to a finding: behind it, or right before it ("?fracture").

        Args:
            start, stop: the finding, in characters.

        Returns:
            The question mark as a hypothetical cue; None if there is none.
        """
        if self.text[self.start : start].rstrip().endswith("?"):
            return Cue(start - 1, start, "hypothetical", "before")
        mark = self.text.find("?", stop, self.stop)
        if mark < 0 or any(stop <= a < mark and self.text[a] in ";:." for a, _ in self._scope_ends):
            return None
        return Cue(mark, mark + 1, "hypothetical", "after")

    def find_part(self, start: int, stop: int) -> tuple[int, int]:
        """Find the part of the sentence between punctuation marks that contains a finding.

        Args:
            start, stop: the finding, in characters.

        Returns:
            (start, stop) of the part, in characters.
        """
        commas = [joint for joint in self._joints if self.text[joint[0]] == ","] + [
            end for end in self._scope_ends if self.text[end[0]] in ";:.\n"
        ]
        left = max((b for _, b in commas if b <= start), default=self.start)
        right = min((a for a, _ in commas if a >= stop), default=self.stop)
        return left, right

    def extend_to_short_end(self, part: tuple[int, int]) -> tuple[int, int]:
        """Extend ``part`` by the rest of the sentence if that is short: "Fraktur, am ehesten älter"."""
        return part if len(WORDS.findall(self.text, part[1], self.stop)) > _MAX_ITEM_WORDS else (part[0], self.stop)

    def is_visible(self, part: tuple[int, int]) -> bool:
        """Whether ``part`` (start, stop) states that a former finding is still visible: "Z.n. Fraktur, durchbaut"."""
        left, right = self.extend_to_short_end(part)
        return any(left <= a and b <= right for a, b in self._visible)

    def _resolve(self, cues: list[Cue]) -> list[Cue]:
        """The cues with their kinds: exclusions and unproven denials become what they make of a finding."""
        ends = [end for end in self._scope_ends if not _INSERTION.fullmatch(self.text[slice(*end)])]
        edges = sorted([*self._joints, *ends])
        resolved, used = [], set()
        for cue in cues:
            if cue.kind == "exclusion":
                left = max((b for _, b in edges if b <= cue.start), default=self.start)
                right = min((a for a, _ in edges if a >= cue.stop), default=self.stop)
                denials = {match.start() for match in _NEGATOR.finditer(self.text, left, right)}
                used |= denials
                asked = self.text[cue.start : cue.stop] in _REQUESTS
                kind = "uncertain" if denials else "hypothetical" if asked else "absent"
                resolved.append(replace(cue, kind=kind))
            elif cue.kind == "absent" and _UNPROVEN.search(self.text, self.start, cue.start):
                resolved.append(replace(cue, kind="uncertain"))
            else:
                resolved.append(cue)
        return [cue for cue in resolved if cue.kind != "absent" or cue.start not in used]

    def _is_in_cue(self, start: int, stop: int) -> bool:
        return any(cue.start <= start and stop <= cue.stop for cue in self.cues)

    def _is_linked(self, left: int, right: int) -> bool:
        """Whether a preposition joins two positions within the same item of a list."""
        return bool(_LINK.search(self.text, left, right)) and not (
            self._has_joint(left, right) or self._has_end(left, right)
        )

    def _has_joint(self, left: int, right: int) -> bool:
        return any(left <= a and b <= right for a, b in self._joints)

    def _has_end(self, left: int, right: int) -> bool:
        return any(left <= a < right for a, _ in self._scope_ends)

    def _reaches(self, cue: Cue, start: int, stop: int) -> bool:
        if cue.start < stop and start < cue.stop:
            return cue.direction == "within"
        if cue.direction == "anywhere":
            return True
        if cue.direction == "first":
            return not self.text[self.start : cue.start].strip(" \t.-*•1234567890)(")
        if cue.direction == "before" and cue.stop <= start:
            return self._reaches_forward(cue, start)
        if cue.direction == "after" and cue.start >= stop:
            return self._reaches_backward(cue, start, stop)
        return False

    def _reaches_forward(self, cue: Cue, start: int) -> bool:
        first = cue.stop + 1 if self.text[cue.stop : cue.stop + 1] == ":" else cue.stop
        if self._has_end(first, start) or (
            cue.kind in _NOT_ACROSS_HISTORY and any(first <= a < start for a, _ in self._history)
        ):
            return False
        joints = [joint for joint in self._joints if cue.stop <= joint[0] < start]
        if not joints:
            return True
        if replace(cue, direction="after") in self.cues:  # "tube removed, catheter in place"
            return False
        if cue.kind not in ("absent", "hypothetical") and any(self.text[a] == "," for a, _ in joints):
            return False
        return not any(self._starts_clause(joint) or self._is_complete(cue, joint) for joint in joints)

    def _is_complete(self, cue: Cue, joint: tuple[int, int]) -> bool:
        """Whether the negation is complete before a comma: "kein Erguss nachweisbar, …"."""
        is_finished = any(
            cue.stop <= a < b <= joint[0] and not self.text[b : joint[0]].strip() for a, b in self._denial_ends
        )
        return is_finished and not _OR.fullmatch(self.text[slice(*joint)].strip("."))

    def _starts_clause(self, joint: tuple[int, int]) -> bool:
        """Whether a new clause follows a comma or "and", not the next item of a list."""
        a, b = joint
        if _OR.fullmatch(self.text[a:b].strip(".")):
            return False
        later = [joint for joint in self._joints if joint[0] >= b]
        stop = min(
            [joint[0] for joint in later] + [end[0] for end in self._scope_ends if end[0] >= b],
            default=self.stop,
        )
        # "A, B oder C"
        if later and later[0][0] == stop and _OR.match(self.text[slice(*later[0])]):
            return False
        has_cue = any(cue.direction == "before" and b <= cue.start < stop for cue in self.cues)
        has_place = any(b < place.start < stop and _LINK.search(self.text, b, place.start) for place in self._places)
        is_asyndetic = self.text[a] == "," and (
            any(b <= side.start < stop for side in self._sides) or _OWN_CLAUSE.match(self.text, b, stop) is not None
        )
        return has_cue or has_place or is_asyndetic or any(b <= span[0] <= stop for span in self._clause_starts)

    def _reaches_backward(self, cue: Cue, start: int, stop: int) -> bool:
        # "Eine Fraktur kann bei … nicht ausgeschlossen werden"
        has_split_verb = _SPLIT_VERB.match(self.text, stop) is not None
        ends = [span for span in self._scope_ends if stop <= span[0] < cue.start]
        if any(not has_split_verb or not _INSERTION.fullmatch(self.text[slice(*span)]) for span in ends):
            return False
        joints = [joint for joint in self._joints if stop <= joint[0] < cue.start]
        if not joints:
            return True
        if cue.kind == "follow_up":  # "Fraktur des Radius, unverändert"
            return len(WORDS.findall(self.text, joints[-1][1], cue.start)) <= 1
        is_list = self.text[joints[-1][0]] != ","  # "Frakturen, Luxationen oder Fremdkörper sind nicht erkennbar"
        left = max((b for _, b in self._joints + self._scope_ends if b <= start), default=self.start)
        if (
            not is_list
            or cue.kind == "hypothetical"
            or any(left <= span[0] < joints[0][0] for span in self._clause_starts)
        ):
            return False
        return len(WORDS.findall(self.text, left, joints[0][0])) <= _MAX_ITEM_WORDS


def _find_cues(text: str, start: int, stop: int, words: dict[str, list[tuple[str, re.Pattern[str]]]]) -> list[Cue]:
    cues = [
        Cue(match.start(), match.end(), kind, direction)
        for kind in (*CUES, "not", "exclusion")
        for direction, phrases in words.get(kind, ())
        for match in phrases.finditer(text, start, stop)
    ]
    cues.sort(key=lambda cue: (cue.start - cue.stop, CUES.index(cue.kind) if cue.kind in CUES else -1))
    kept: list[Cue] = []
    for cue in cues:
        if not any(cue.start < other.stop and other.start < cue.stop and _replaces(other, cue) for other in kept):
            kept.append(cue)
    return [cue for cue in kept if cue.kind != "not"]


def _replaces(longer: Cue, cue: Cue) -> bool:
    """Whether ``longer`` replaces the overlapping ``cue``; cues with the same place are all kept."""
    return (longer.start, longer.stop) != (cue.start, cue.stop)


@cache
def _assertion_words(language: Language) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Kind → (direction, pattern of the phrases)."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for entry in (*read_word_list(f"assertion_{language}"), *read_word_list("assertion_both")):
        kind, _, direction = entry.key.partition(" ")
        grouped.setdefault((kind, direction), []).extend(entry.phrases)
    out: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for (kind, direction), phrases in grouped.items():
        out.setdefault(kind, []).append((direction, compile_phrases(phrases)))
    return out
