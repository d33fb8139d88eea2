"""Read back what a person has confirmed on ``report_review.html``: labels, and how often the labeller is right.

Files in PRIVATE/, readable by their owner only:
  confirmed_labels.csv   a row per film, label and reader, for ``label --labels``
  review_agreement.csv   answers, and share of right ones with its interval, by finding and assertion
  review_problems.csv    problem, file, line, part: answers that cannot be used
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.annotations.row_problems import RowProblem, problems_csv
from data_prep.archive.manifest import read_linkage, read_manifest, write_private_text
from data_prep.errors import ArchiveError, LabelError
from data_prep.radiology_reports.film_values import FOREIGN_OBJECT, label_values, select_mentions_on_film
from data_prep.radiology_reports.finding_words import OBJECTS
from data_prep.radiology_reports.label_reports import REPORTS_FILE
from data_prep.radiology_reports.mentions import Assertion, Mention, find_mentions
from data_prep.radiology_reports.review_answers import (
    ANY,
    RIGHT,
    UNSURE,
    VERDICTS,
    WRONG,
    Answer,
    mention_of,
    read_answers,
)
from data_prep.runtime.csv_text import csv_text
from data_prep.statistics.share_interval import share_interval

CONFIRMED_FILE, AGREEMENT_FILE, PROBLEMS_FILE = "confirmed_labels.csv", "review_agreement.csv", "review_problems.csv"
_NOT_MENTIONED = "not_mentioned"


class _Film(NamedTuple):
    """A film of a study."""

    path: str
    frames: int
    body_part: str | None
    side: str | None


@dataclass(frozen=True)
class KindAgreement:
    """Answers about the mentions of one kind.

    Attributes:
        finding: of the mentions, or ANY.
        assertion: as the page displayed it.
        counts: verdict → number of answers.
    """

    finding: str
    assertion: str
    counts: Mapping[str, int]

    @property
    def share(self) -> tuple[float, float, float]:
        """Share of right answers among right and wrong ones with its 95 % interval; NaN without any."""
        right, decided = self.counts[RIGHT], self.counts[RIGHT] + self.counts[WRONG]
        return (right / decided if decided else float("nan"), *share_interval(right, decided))

    def __str__(self) -> str:
        value, low, high = self.share
        share = f"{value:.2f} [{low:.2f}, {high:.2f}]" if not math.isnan(value) else ""
        what = f"{self.finding}: {self.assertion}".replace("_", " ")
        counts = "".join(f"{self.counts[verdict]:>8}" for verdict in VERDICTS)
        return f"  {what:<36}{counts}   {share}".rstrip()


@dataclass(frozen=True)
class ReviewSummary:
    """What was read and written.

    Attributes:
        agreement: answers by finding and assertion.
        readers: number of people who answered.
        disagreements: mentions that one reader calls right and another wrong.
        labels: number of confirmed labels.
        films: number of films that have one.
        private: private folder.
    """

    agreement: Sequence[KindAgreement]
    readers: int
    disagreements: int
    labels: int
    films: int
    private: Path

    def __str__(self) -> str:
        all_mentions = [one for one in self.agreement if one.finding != ANY]
        totals = {verdict: sum(one.counts[verdict] for one in all_mentions) for verdict in VERDICTS}
        title = f"  {'answers':<36}" + "".join(f"{verdict:>8}" for verdict in VERDICTS) + "   share right [95 %]"
        lines = [title, *map(str, self.agreement), str(KindAgreement("all mentions", "of the page", totals))]
        lines.append(f"readers: {self.readers}; mentions on which they differ: {self.disagreements}")
        if not self.labels:
            return "\n".join(
                [*lines, "no label is confirmed: that needs an answer about every mention of a finding in a report"]
            )
        file = self.private / CONFIRMED_FILE
        return "\n".join(
            [
                *lines,
                f"confirmed: {self.labels} labels of {self.films} films, in {file}",
                "next, with the other --labels of these shards, which it replaces otherwise:",
                f"  mae-rad label {self.private} --labels {file} --out PUBLIC",
            ]
        )


def review(private: Path, answers: Sequence[Path]) -> ReviewSummary:
    """Read answers, and write confirmed labels and agreement into the private folder.

    Args:
        private: folder of the scan whose reports were labelled.
        answers: tables that ``report_review.html`` has saved.

    Returns:
        Counts of what was written.

    Raises:
        ArchiveError: the private folder or a table is missing or unreadable.
        LabelError: an answer does not fit the reports; nothing but the list of problems is written.
    """
    mentions = _Mentions(private)
    problems: list[RowProblem] = []
    read = list(read_answers(answers, mentions, problems))
    if problems:
        write_private_text(private / PROBLEMS_FILE, problems_csv(problems))
        raise LabelError(
            f"{problems[0].place}: {problems[0].problem} ({len(problems)} answers cannot be used: {PROBLEMS_FILE} in"
            " the private folder). Nothing is written"
        )
    if not read:
        raise LabelError("the tables hold no answer. Mark mentions as right or wrong on the page, and save it again")
    by_reader: dict[str, list[Answer]] = {}
    for answer in read:
        by_reader.setdefault(answer.reader, []).append(answer)
    films = _films(private, {answer.study for answer in read})
    rows = [
        (path, frame, label, value, "expert", reader)
        for reader, of_reader in sorted(by_reader.items())
        for path, frame, label, value in _confirmed(of_reader, mentions, films)
    ]
    agreement = _agreement(read)
    write_private_text(private / AGREEMENT_FILE, _agreement_csv(agreement))
    header = ("path", "frame", "label", "value", "source", "reader")
    if rows:
        write_private_text(private / CONFIRMED_FILE, csv_text([header, *rows]))
    else:
        (private / CONFIRMED_FILE).unlink(missing_ok=True)
    (private / PROBLEMS_FILE).unlink(missing_ok=True)
    return ReviewSummary(
        agreement, len(by_reader), _disagreements(read), len(rows), len({row[:2] for row in rows}), private
    )


class _Mentions(Mapping[str, Sequence[Mention]]):
    """Study → mentions of its report; a report is read when it is asked for."""

    def __init__(self, private: Path) -> None:
        try:
            table = pq.read_table(private / REPORTS_FILE, columns=["study", "language", "text"])
        except FileNotFoundError:
            raise ArchiveError(
                f"{private} has no {REPORTS_FILE}. Give the private folder whose reports were labelled with"
                " `mae-rad label --reports`"
            ) from None
        except (OSError, pa.ArrowException, ValueError):
            raise ArchiveError(f"{private / REPORTS_FILE} is damaged. Run `mae-rad label --reports` again") from None
        self._table = table
        self._rows = {study: row for row, study in enumerate(table["study"].to_pylist())}
        self._found: dict[str, list[Mention]] = {}

    def __getitem__(self, study: str) -> Sequence[Mention]:
        if study not in self._found:
            row = self._rows[study]
            text, language = (self._table[name][row].as_py() for name in ("text", "language"))
            self._found[study] = find_mentions(text, language or "en")
        return self._found[study]

    def __contains__(self, study: object) -> bool:
        return study in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _films(private: Path, studies: set[str]) -> dict[str, list[_Film]]:
    """Study → its films."""
    manifest = read_manifest(private)
    paths = read_linkage(private, ["path"])["path"]
    wanted = pc.and_(pc.is_in(manifest["study"], pa.array(sorted(studies), pa.string())), pc.is_valid(manifest["key"]))
    films: dict[str, list[_Film]] = {}
    names = ("study", "frames", "body_part", "laterality")
    rows = zip(
        paths.filter(wanted).to_pylist(), *(manifest[name].filter(wanted).to_pylist() for name in names), strict=True
    )
    for path, study, frames, body_part, side in rows:
        films.setdefault(study, []).append(_Film(path, frames or 1, body_part, side))
    return films


def _confirmed(
    answers: Sequence[Answer], mentions: Mapping[str, Sequence[Mention]], films: Mapping[str, Sequence[_Film]]
) -> Iterator[tuple[str, int | str, str, str]]:
    """(path, frame, label, value) of the films whose labels the answers of one reader decide."""
    by_study: dict[str, dict[tuple[str, str, int, int], Answer]] = {}
    for answer in answers:
        by_study.setdefault(answer.study, {})[answer.mention] = answer
    for study, of_study in by_study.items():
        decided = _decided(mentions[study], of_study)
        body_parts = {film.body_part for film in films.get(study, ())}
        for film in films.get(study, ()):
            values = label_values(select_mentions_on_film(decided, film.body_part, film.side, body_parts))
            answered = {mention.finding for mention in decided}
            if any(values[kind].value == "present" for kind in answered.intersection(OBJECTS)):
                answered.add(FOREIGN_OBJECT)  # one kind is enough for present, but not for absent
            for label in sorted(answered):
                if values[label].value != _NOT_MENTIONED:
                    for frame in range(1, film.frames + 1) if film.frames > 1 else ("",):
                        yield film.path, frame, label, values[label].value


def _decided(mentions: Sequence[Mention], answers: Mapping[tuple[str, str, int, int], Answer]) -> list[Mention]:
    """Mentions as they were confirmed or corrected, of the findings whose mentions are all decided."""
    corrected: list[Mention] = []
    open_findings = set()
    for mention in mentions:
        answer = answers.get(mention_of(mention))
        if answer is None or answer.verdict == UNSURE or (answer.verdict == WRONG and not answer.instead):
            open_findings.add(mention.finding)
        elif answer.verdict == WRONG:
            corrected.append(replace(mention, assertion=Assertion(answer.instead), likely=False))
        else:
            corrected.append(mention)
    return [mention for mention in corrected if mention.finding not in open_findings]


def _agreement(answers: Sequence[Answer]) -> list[KindAgreement]:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for answer in answers:
        counts.setdefault((answer.finding, answer.assertion), Counter())[answer.verdict] += 1
    return [KindAgreement(*kind, of_kind) for kind, of_kind in sorted(counts.items())]


def _disagreements(answers: Sequence[Answer]) -> int:
    verdicts: dict[tuple[str, tuple[str, str, int, int]], set[str]] = {}
    for answer in answers:
        verdicts.setdefault((answer.study, answer.mention), set()).add(answer.verdict)
    return sum({RIGHT, WRONG} <= given for given in verdicts.values())


def _agreement_csv(agreement: Sequence[KindAgreement]) -> str:
    rows = [
        (
            one.finding,
            one.assertion,
            *(one.counts[verdict] for verdict in VERDICTS),
            *("" if math.isnan(value) else f"{value:.4f}" for value in one.share),
        )
        for one in agreement
    ]
    return csv_text([("finding", "assertion", *VERDICTS, "share_right", "low", "high"), *rows])
