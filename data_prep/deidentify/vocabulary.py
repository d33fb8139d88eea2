"""Vocabularies, word lists that a clinician can read; only their standard terms may enter a public file.

A text is compared by rules, so that a list holds words and not their spellings:

=============  =========================================================================================
order          case, accents and punctuation are ignored, and words that say nothing of the term are dropped, and the
               letter of a side: ``L``, ``R``, ``B``; no other letter, for a ``C-ARM`` is no arm
joined words   ``T SPINE`` is ``TSPINE``, ``KNIEKLEINKIND`` is ``KNIE`` with a word that is dropped
two spellings  of one term are the term: ``HWS DENS``
umlauts        ``Schädel`` in a list is also ``Schaedel`` and ``Schadel``
lost letters   ``_`` in a text may stand for letters that were lost, ``FU_`` for ``FUß``, if only one term fits,
               at an end of whatever length: ``OBER_`` is unknown, because ``Oberarm`` and ``Oberschenkel`` fit
=============  =========================================================================================
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from itertools import product
from typing import NamedTuple

_UMLAUTS = {"ä": ("a", "ae"), "ö": ("o", "oe"), "ü": ("u", "ue"), "ß": ("ss",)}
"""Letter → ways in which it is written without its dots; ß has one."""
_LOST = re.compile("[_?\N{REPLACEMENT CHARACTER}]+")
_MAX_LOST_LETTERS, _RIVAL_LETTERS = 2, 3
"""Letters for which one ``_`` may stand, and in a word whose other term makes it unknown: ``BE_N`` is Bein or Becken.

Three letters would make an ``Oberarm`` of the device ``O_ARM``."""
_SIDES = frozenset("lrb")
"""Letters that are dropped: left, right, both."""
_MIN_KNOWN_LETTERS = {True: 3, False: 4}
"""Other letters that such a word needs: with ``_`` between two of them, and at an end. A lost umlaut needs but 2."""
_MIN_PART_LETTERS = 3
"""Letters of each of two spellings that are written together."""
_MAX_JOINED_LETTERS, _MAX_MARKED_LETTERS = 40, 120
"""Letters of a text that is read by these rules, without and with its spaces."""


class Reading(NamedTuple):
    """What a text means.

    Attributes:
        term: standard term; None: not known.
        doubtful: the text is not to be relied on; without a term it is known to have several meanings.
    """

    term: str | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """Standard terms with their known spellings.

    Attributes:
        spellings: normalised spelling → standard term, in the order of the list.
        ignored: words, and words that stand together, that may be added to a spelling.
        joined: those that may also be written together with it.
        doubtful: those that make it doubtful.
        ambiguous: words, without spaces, that have several meanings and are never read.
        exact: words, without spaces, that no text with lost letters is read as.
        lost: spelling, without spaces and with ``_`` for its umlaut → term.
        own: words of the user, without spaces → term; they come first.
    """

    spellings: dict[str, str]
    ignored: frozenset[str]
    joined: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    ambiguous: frozenset[str] = frozenset()
    exact: frozenset[str] = frozenset()
    lost: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)

    def match(self, text: str) -> str | None:
        """The standard term of which the whole ``text`` is a spelling; None if there is none."""
        return self.read(text).term

    def read(self, text: str) -> Reading:
        """Read a text by the rules of this module."""
        words = normalise(text).split()
        relevant = self._relevant(words)
        compact, short = "".join(words), "".join(relevant)
        if own := self.own.get(compact) or self.own.get(short):
            return Reading(own)
        if {compact, short} & self.ambiguous:
            return Reading(None, doubtful=True)
        if term := self.spellings.get(" ".join(words)):
            return Reading(term)
        reading = (
            self._read_words(relevant)
            or self._read_joined(compact)
            or self._read_joined(short)
            or self._read_words([word for word in relevant if word not in _SIDES])
            or self._read_with_lost_letters(text)
            or Reading()
        )
        is_doubtful = reading.term is not None and not self.doubtful.isdisjoint(words)
        return Reading(reading.term, reading.doubtful or is_doubtful)

    def find(self, text: str) -> str | None:
        """The first standard term with a spelling that occurs in ``text`` as whole words; None if there is none."""
        padded = f" {normalise(text)} "
        return next((term for spelling, term in self.spellings.items() if f" {spelling} " in padded), None)

    def with_words(self, words: Mapping[str, str]) -> "Vocabulary":
        """Add words of the user, which come before those of the list.

        Args:
            words: word → standard term.
        """
        return replace(self, own={without_spaces(word): term for word, term in words.items()})

    @cached_property
    def _compact(self) -> dict[str, str]:
        """Spelling without spaces → term."""
        compact: dict[str, str] = {}
        for spelling, term in self.spellings.items():
            compact.setdefault(spelling.replace(" ", ""), term)
        return compact | self.own

    @cached_property
    def _phrases(self) -> re.Pattern[str]:
        """Several words that are dropped where they stand together: ``no grid``."""
        phrases = sorted((phrase for phrase in self.ignored if " " in phrase), key=len, reverse=True)
        return re.compile(rf"\b(?:{'|'.join(phrases)})\b" if phrases else r"(?!)")

    def _relevant(self, words: Sequence[str]) -> list[str]:
        """The words that are not dropped."""
        return [word for word in self._phrases.sub(" ", " ".join(words)).split() if word not in self.ignored]

    def _read_words(self, words: Sequence[str]) -> Reading | None:
        term = self.spellings.get(" ".join(words))
        return Reading(term) if term else None

    def _read_joined(self, compact: str) -> Reading | None:
        for core, is_doubtful in self._without_joined(compact):
            if core in self.ambiguous:
                return Reading(None, doubtful=True)
            if term := self._compact.get(core) or self._term_of_parts(core):
                return Reading(term, is_doubtful)
        return None

    def _without_joined(self, compact: str) -> Iterator[tuple[str, bool]]:
        """(rest, whether a doubtful word was removed) for each way to remove joined words at both ends."""
        pending, seen = [(compact, False)], set[str]()
        while pending and len(compact) <= _MAX_JOINED_LETTERS:
            core, is_doubtful = pending.pop(0)
            if core in seen:
                continue
            seen.add(core)
            yield core, is_doubtful
            for word in sorted(self.joined):
                if len(core) > len(word):
                    rests = [core.removeprefix(word), core.removesuffix(word)]
                    pending += [(rest, is_doubtful or word in self.doubtful) for rest in rests if rest != core]
            pending += [(rest, is_doubtful) for rest in (core.removeprefix("_"), core.removesuffix("_")) if rest]

    def _term_of_parts(self, core: str) -> str | None:
        """The term of a text that consists of several of its spellings."""
        for cut in range(_MIN_PART_LETTERS, len(core) - _MIN_PART_LETTERS + 1):
            term, rest = self._compact.get(core[:cut]), core[cut:]
            if term is not None and term == (self._compact.get(rest) or self._term_of_parts(rest)):
                return term
        return None

    def _read_with_lost_letters(self, text: str) -> Reading | None:
        marked = _LOST.sub("_", text)
        if "_" not in marked or len(marked) > _MAX_MARKED_LETTERS:
            return None
        tokens = ["_".join(map(without_spaces, token.split("_"))) for token in re.split(r"[^\w]+", marked)]
        relevant = [token for token in self._relevant(tokens) if token not in _SIDES]
        for compact in ("".join(tokens), "".join(relevant)):
            for core, is_doubtful in self._without_joined(compact):
                if "_" in core and (term := self._term_with_lost_letters(core)):
                    return Reading(term, is_doubtful)
        return None

    def _term_with_lost_letters(self, core: str) -> str | None:
        """The only term that fits; an umlaut is lost more often than another letter."""
        if term := self.lost.get(core):
            return term
        if len(core.replace("_", "")) < _MIN_KNOWN_LETTERS[core == core.strip("_")]:
            return None
        near = re.compile(core.replace("_", f"[a-z]{{1,{_MAX_LOST_LETTERS}}}"))
        inner = core.strip("_").replace("_", f"[a-z]{{1,{_RIVAL_LETTERS}}}")
        far = re.compile("[a-z]+" * (core[0] == "_") + inner + "[a-z]+" * (core[-1] == "_"))
        terms = {term for spelling, term in self._compact.items() if far.fullmatch(spelling)}
        is_near = any(near.fullmatch(spelling) for spelling in self._compact.keys() - self.exact)
        return terms.pop() if len(terms) == 1 and is_near else None


def normalise(text: str) -> str:
    """Normalise to lower-case words of ASCII letters and digits: ``"C-SPINE_a.p."`` → ``"c spine a p"``."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return " ".join(re.findall("[a-z0-9]+", plain))


def without_spaces(text: str) -> str:
    """Normalise to one word of lower-case ASCII letters and digits."""
    return normalise(text).replace(" ", "")


def _spellings(word: str) -> Iterator[str]:
    """All ways to write a word of a list: each umlaut with its dots (which are ignored) or without."""
    letters = unicodedata.normalize("NFC", word.lower())
    choices = [_UMLAUTS.get(letter, (letter,)) for letter in letters]
    yield from (normalise("".join(choice)) for choice in product(*choices))


def _with_lost_umlauts(word: str) -> str | None:
    """The word without spaces, with ``_`` for its umlaut; None if it has none, or several."""
    letters = unicodedata.normalize("NFC", word.lower())
    pieces = re.split(f"[{''.join(_UMLAUTS)}]", letters)
    known = [without_spaces(piece) for piece in pieces]
    return "_".join(known) if len(pieces) == 2 and len("".join(known)) > 1 else None


@cache
def vocabulary(name: str) -> Vocabulary:
    """Read the list ``words/<name>.txt``.

    Its lines are ``STANDARD: spelling, spelling``; or words that are dropped (``-:``; ``no_grid`` where both stand
    together), that are dropped and may be written together with a spelling (``+:``), that make it doubtful as well
    (``~:``), that are never read (``!:``), or that no text with lost letters is read as (``?:``).
    """
    spellings: dict[str, str] = {}
    lost: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {mark: set() for mark in "-+~!?"}
    text = resources.files("data_prep.deidentify").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        standard, _, words = line.partition(":")
        if standard in groups:
            groups[standard].update(spelling for word in words.split() for spelling in _spellings(word))
            continue
        for word in (standard, *words.split(",")):
            for spelling in _spellings(word):
                spellings.setdefault(spelling, standard)
            if (marked := _with_lost_umlauts(word)) is not None:
                lost.setdefault(marked, set()).add(standard)
    joined = groups["+"] | groups["~"]
    return Vocabulary(
        spellings,
        ignored=frozenset(groups["-"] | joined),
        joined=frozenset(joined),
        doubtful=frozenset(groups["~"]),
        ambiguous=frozenset(groups["!"]),
        exact=frozenset(groups["?"]),
        lost={word: terms.pop() for word, terms in lost.items() if len(terms) == 1},
    )
