"""A private HTML page on which a person checks a sample of the mentions found in reports.

It displays some mentions of every finding and assertion in their text, and some reports without mentions. The page is
one file, needs no network, and keeps the answers in the browser until they are saved as a CSV file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_prep.radiology_reports.finding_words import FINDINGS
from data_prep.radiology_reports.mentions import Assertion, Mention

REVIEW_FILE = "report_review.html"
MENTIONS_PER_CLASS = 6
"""Number of mentions of each finding and assertion, and of reports without mentions."""
_CONTEXT_CHARACTERS = 220
"""Characters of the report on each side of a mention."""


@dataclass(frozen=True)
class DisplayedMention:
    """A mention with its text, as the template ``review.html`` displays it.

    Attributes:
        number: of the mention on the page, from 1.
        study: key.
        mention: that is displayed.
        before, quote, after: the mention with its context.
        full_text: the report before and after the mention.
    """

    number: int
    study: str
    mention: Mention
    before: str
    quote: str
    after: str
    full_text: tuple[str, str]

    @property
    def is_full_text(self) -> bool:
        """Whether the context is the whole report."""
        return (self.before, self.after) == self.full_text


def review_page(studies: Sequence[str], texts: Sequence[str], mentions: Sequence[Sequence[Mention]]) -> str:
    """Render the page.

    Args:
        studies: keys.
        texts: report of each study.
        mentions: of each report.

    Returns:
        HTML.
    """
    empty = [k for k, mentions_of_report in enumerate(mentions) if not mentions_of_report]
    sampled = [empty[position] for position in _sample_positions([studies[k] for k in empty], "silent")]
    return (
        _environment()
        .get_template("review.html")
        .render(
            groups=_group_mentions(studies, texts, mentions),
            reports_without_mentions=[{"study": studies[k], "text": texts[k]} for k in sampled],
            assertions=[assertion.value for assertion in Assertion],
            findings=FINDINGS,
            per_class=MENTIONS_PER_CLASS,
            reports=len(texts),
            mentions=sum(map(len, mentions)),
        )
    )


def _group_mentions(
    studies: Sequence[str], texts: Sequence[str], mentions: Sequence[Sequence[Mention]]
) -> list[tuple[str, list[tuple[str, int, list[DisplayedMention]]]]]:
    """Finding → (assertion, number of mentions, displayed ones)."""
    by_class: dict[tuple[str, str], list[tuple[int, Mention]]] = {}
    for k, mentions_of_report in enumerate(mentions):
        for mention in mentions_of_report:
            by_class.setdefault((mention.finding, mention.assertion), []).append((k, mention))
    groups, number = [], 0
    for finding in FINDINGS:
        rows = []
        for assertion in Assertion:
            matching = by_class.get((finding, assertion), [])
            sample = _sample_positions(
                [f"{studies[k]} {mention.start}" for k, mention in matching], f"{finding} {assertion}"
            )
            displayed = []
            for position in sample:
                k, mention = matching[position]
                number += 1
                displayed.append(_displayed_mention(number, studies[k], texts[k], mention))
            if matching:
                rows.append((assertion.value, len(matching), displayed))
        groups.append((finding, rows))
    return groups


def _sample_positions(identifiers: Sequence[str], purpose: str) -> list[int]:
    """Positions of up to MENTIONS_PER_CLASS ``identifiers``, chosen by the hash of each, independent of their order."""
    hashes = [hashlib.sha256(f"{purpose} {name}".encode()).digest() for name in identifiers]
    return sorted(range(len(identifiers)), key=hashes.__getitem__)[:MENTIONS_PER_CLASS]


def _displayed_mention(number: int, study: str, text: str, mention: Mention) -> DisplayedMention:
    left, right = max(mention.start - _CONTEXT_CHARACTERS, 0), mention.stop + _CONTEXT_CHARACTERS
    return DisplayedMention(
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
