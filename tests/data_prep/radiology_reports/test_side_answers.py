"""Answers for one side that do not name the finding again."""

import pytest

from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.side_answers import find_side_answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fraktur links, rechts keine.", [("R", False)]),
        ("prosthesis on the right, none on the left.", [("L", False)]),
        ("fracture on the right, left: yes", [("L", True)]),
        ("keine fraktur links, rechts unauffällig", []),
    ],
)
def test_an_answer_is_a_side_and_nothing_else(text: str, expected: list[tuple[str, bool]]) -> None:
    assert [(answer.side, answer.is_present) for answer in find_side_answers(text, 0, len(text))] == expected


def test_the_answer_reaches_its_own_side_alone() -> None:
    mentions = find_mentions("Rechts keine, links Fraktur des Radius.", "de")
    assert {(mention.side, str(mention.assertion)) for mention in mentions} == {("R", "absent"), ("L", "present")}
