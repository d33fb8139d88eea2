"""A page on which a person confirms what was read from reports: private, one file, works without a network.

It shows some mentions of every finding and assertion in their text, and some reports in which nothing was found. What
the person decides stays in the browser until it is saved as a CSV file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_prep.radiology_reports.finding_words import FINDINGS
from data_prep.radiology_reports.mentions import Assertion, Mention

REVIEW_FILE = "report_review.html"
PER_CLASS = 6
"""Mentions of each finding and assertion, and reports in which nothing was found."""
_AROUND = 220
"""Characters of the report that are shown at once on each side of a mention."""


@dataclass(frozen=True)
class Shown:
    """A mention in its text: near and, if asked for, in the whole report."""

    number: int
    study: str
    mention: Mention
    before: str
    told: str
    after: str
    whole: tuple[str, str]
    """The report before and after the mention."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left out at first."""
        return (self.before, self.after) == self.whole


def review_page(studies: Sequence[str], texts: Sequence[str], mentions: Sequence[Sequence[Mention]]) -> str:
    """The page for the reports ``texts`` of ``studies`` (keys) and the mentions found in each."""
    quiet = [k for k, found in enumerate(mentions) if not found]
    silent = [quiet[place] for place in _sample([studies[k] for k in quiet], "silent")]
    return (
        _environment()
        .get_template("review.html")
        .render(
            groups=_groups(studies, texts, mentions),
            silent=[{"study": studies[k], "text": texts[k]} for k in silent],
            assertions=[one.value for one in Assertion],
            findings=FINDINGS,
            per_class=PER_CLASS,
            reports=len(texts),
            mentions=sum(map(len, mentions)),
        )
    )


def _groups(
    studies: Sequence[str], texts: Sequence[str], mentions: Sequence[Sequence[Mention]]
) -> list[tuple[str, list[tuple[str, int, list[Shown]]]]]:
    """Finding → (assertion, how many mentions, those shown)."""
    places: dict[tuple[str, str], list[tuple[int, Mention]]] = {}
    for k, found in enumerate(mentions):
        for mention in found:
            places.setdefault((mention.finding, mention.assertion), []).append((k, mention))
    groups, number = [], 0
    for finding in FINDINGS:
        rows = []
        for assertion in Assertion:
            there = places.get((finding, assertion), [])
            chosen = _sample([f"{studies[k]} {one.start}" for k, one in there], f"{finding} {assertion}")
            shown = []
            for place in chosen:
                k, mention = there[place]
                number += 1
                shown.append(_shown(number, studies[k], texts[k], mention))
            if there:
                rows.append((assertion.value, len(there), shown))
        groups.append((finding, rows))
    return groups


def _sample(names: Sequence[str], purpose: str) -> list[int]:
    """Places of some of ``names``, by a hash of each: the same for the same reports, whatever stands before them."""
    hashes = [hashlib.sha256(f"{purpose} {name}".encode()).digest() for name in names]
    return sorted(range(len(names)), key=hashes.__getitem__)[:PER_CLASS]


def _shown(number: int, study: str, text: str, mention: Mention) -> Shown:
    left, right = max(mention.start - _AROUND, 0), mention.stop + _AROUND
    return Shown(
        number,
        study,
        mention,
        ("… " if left else "") + text[left : mention.start],
        text[mention.start : mention.stop],
        text[mention.stop : right] + (" …" if right < len(text) else ""),
        (text[: mention.start], text[mention.stop :]),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("data_prep.radiology_reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment
