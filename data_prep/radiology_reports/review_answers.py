"""Read the answers that a person has saved on ``report_review.html``, and check each against the reports.

study, finding, assertion   what the page displayed; finding ``any`` and assertion ``not_mentioned`` for a report
start, stop                 without mentions
verdict                     right, wrong, unsure, or empty
instead                     the right assertion; of a report without mentions the finding that was missed
remark, reader              free text (not used), and who answered
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.annotations.csv_table import csv_table
from data_prep.annotations.row_problems import Place, RowError, RowProblem
from data_prep.radiology_reports.finding_words import FINDINGS
from data_prep.radiology_reports.mentions import Assertion, Mention

ANY = "any"
"""Finding of the answers about reports without mentions."""
RIGHT, WRONG, UNSURE = VERDICTS = ("right", "wrong", "unsure")
_COLUMNS = ("study", "finding", "assertion", "start", "stop", "verdict", "instead", "reader")


@dataclass(frozen=True)
class Answer:
    """An answer about one mention, or about a report without mentions.

    Attributes:
        study: key.
        finding: of the mention, or ANY.
        assertion: as the page displayed it.
        start, stop: characters of the mention in the report.
        verdict: right, wrong or unsure.
        instead: the right assertion, or the finding that was missed; empty if it was not given.
        reader: who answered; empty if nobody is named.
    """

    study: str
    finding: str
    assertion: str
    start: int
    stop: int
    verdict: str
    instead: str
    reader: str

    @property
    def mention(self) -> tuple[str, str, int, int]:
        """What it is about, within the study."""
        return self.finding, self.assertion, self.start, self.stop


def mention_of(mention: Mention) -> tuple[str, str, int, int]:
    """The part of a mention by which an answer refers to it."""
    return mention.finding, mention.assertion.value, mention.start, mention.stop


def read_answers(
    paths: Sequence[Path], mentions: Mapping[str, Sequence[Mention]], problems: list[RowProblem]
) -> Iterator[Answer]:
    """Read and check the answers of all tables.

    Args:
        paths: tables that the page has saved.
        mentions: study → mentions that are found in its report now.
        problems: receives an error for each answer that cannot be used; it quotes no content.

    Yields:
        Answers with a verdict; equal ones once.

    Raises:
        ArchiveError: a table is missing, is no CSV table, or lacks a column.
    """
    seen: dict[tuple[str, str, tuple[str, str, int, int]], Answer] = {}
    for path in paths:
        for line, cells in csv_table(path, _COLUMNS):
            try:
                answer = _answer(cells, mentions)
                if answer is None:
                    continue
                place = answer.reader, answer.study, answer.mention
                if seen.setdefault(place, answer) != answer:
                    raise RowError("the same reader answers this twice, and differently. Leave one of the lines out")
                if seen[place] is answer:
                    yield answer
            except RowError as error:
                problems.append(RowProblem(str(error), Place(path, line), is_error=True))


def _answer(cells: Mapping[str, str], mentions: Mapping[str, Sequence[Mention]]) -> Answer | None:
    verdict, instead, finding = cells["verdict"], cells["instead"], cells["finding"]
    if cells["study"] not in mentions:
        raise RowError("the study is not among the reports of this private folder. Give the answers of its own page")
    if finding not in (*FINDINGS, ANY):
        raise RowError(f"the finding is none of {', '.join((*FINDINGS, ANY))}")
    words = FINDINGS if finding == ANY else [assertion.value for assertion in Assertion]
    if instead and instead not in words:
        raise RowError(f"instead is none of {', '.join(words)}")
    if verdict and verdict not in VERDICTS:
        raise RowError(f"the verdict is none of {', '.join(VERDICTS)}")
    if verdict == RIGHT and instead:
        raise RowError("the verdict is right, and yet there is something instead. Empty one of the two")
    try:
        start, stop = int(cells["start"]), int(cells["stop"])
    except ValueError:
        raise RowError("start and stop are whole numbers") from None
    answer = Answer(cells["study"], finding, cells["assertion"], start, stop, verdict, instead, cells["reader"])
    found = {mention_of(mention) for mention in mentions[answer.study]}
    if found if finding == ANY else answer.mention not in found:
        raise RowError(
            "the report is read differently now than on the page. Run `mae-rad label --reports` again, and answer on"
            " its new page"
        )
    return answer if verdict else None
