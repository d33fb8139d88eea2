"""Answers for one side that do not name the finding again: "Fraktur links, rechts keine"."""

import re
from dataclasses import dataclass

_PART = re.compile(r"[,;()]|(?<=\w)[.]?(?=\s*$)|\b(?:but|aber|und|and|jedoch|while|whereas|während)\b")
_SIDE = (
    r"(?:(?:on|in|at|auf|an)\s+(?:the|der)\s+)?(?P<{0}>left|right|links|rechts|linksseitig|rechtsseitig)"
    r"(?:\s+(?:side|seite|hand side))?"
)
_NO = r"(?:keine[rsn]?|kein|none|nil|no|not|nicht|nein|negative|negativ|absent)"
_YES = r"(?:ja|yes|present|vorhanden|positive|positiv)"
_ANSWER = re.compile(
    rf"\s*(?:{_SIDE.format('before')}\s*:?\s+(?:{_NO}|(?P<yes>{_YES}))|(?:{_NO}|(?P<also>{_YES}))\s+{_SIDE.format('behind')})\s*"
)


@dataclass(frozen=True)
class SideAnswer:
    """An answer at text[start:stop].

    Attributes:
        start, stop: characters.
        side: L or R.
        is_present: whether the finding is on that side.
    """

    start: int
    stop: int
    side: str
    is_present: bool


def find_side_answers(text: str, start: int, stop: int) -> list[SideAnswer]:
    """Find the parts of a sentence that answer for one side and say nothing else.

    Args:
        text: in lower case.
        start, stop: the sentence, in characters.

    Returns:
        The answers in the order of the text.
    """
    answers, first = [], start
    for edge in [*(match.span() for match in _PART.finditer(text, start, stop)), (stop, stop)]:
        match = _ANSWER.fullmatch(text, first, edge[0])
        if match and first < edge[0]:
            side = match["before"] or match["behind"]
            answers.append(
                SideAnswer(first, edge[0], "L" if side[0] == "l" else "R", bool(match["yes"] or match["also"]))
            )
        first = edge[1]
    return answers


def without_answers(text: str, answers: list[SideAnswer]) -> str:
    """The text with blanks in place of the answers, so that their words reach nothing else."""
    for answer in answers:
        text = text[: answer.start] + " " * (answer.stop - answer.start) + text[answer.stop :]
    return text
