"""Partners: films of the rule alone, by arithmetic in seed, epoch and position."""

import numpy as np
import pytest

from mae_rad.pairing.partners import RULES, PartnerRule, Partners

STUDY = np.array([0, 0, 0, 1, 1, 2, 3, 3])
VIEW = np.array([0, 1, 1, 0, 0, 1, -1, 0])
PATIENT = np.array([0, 0, 0, 0, 0, 1, 2, 2])
PART = np.array([0, 0, 1, 0, -1, 0, 0, 0])
COLUMNS = {"study": STUDY, "view": VIEW, "patient": PATIENT, "body_part": PART}


def _partners(rule: dict[str, object]) -> Partners:
    return Partners(PartnerRule.model_validate(rule), COLUMNS, 8, seed=1)


def _seen(partners: Partners, row: int) -> set[int]:
    return {partners.partner(epoch, position, row) for epoch in range(3) for position in range(40)}


@pytest.mark.parametrize(
    ("rule", "row", "expected"),
    [
        (RULES["study"], 0, {1, 2}),
        (RULES["study"], 5, {5}),  # alone
        (RULES["other_view"], 0, {1, 2}),
        (RULES["other_view"], 1, {0}),
        (RULES["other_view"], 3, {3}),
        (RULES["other_view"], 6, {6}),  # its view is not known
        (RULES["patient"], 4, {0, 1, 2, 3}),
        (RULES["patient_same_part"], 0, {1, 3}),
        (RULES["patient_same_part"], 4, {4}),
        (RULES["patient_other_date"], 3, {0, 1, 2}),
        (RULES["random"], 2, {0, 1, 3, 4, 5, 6, 7}),
        ({"same": ["study"], "itself": True}, 0, {0, 1, 2}),
        ({"same": ["patient"], "other": ["study"], "agree": ["body_part"]}, 4, {0, 1, 2}),
        ({"same": ["patient"], "other": ["study"], "agree": ["body_part"]}, 3, {0, 1}),
    ],
)
def test_partners_are_those_of_the_rule(rule: dict[str, object], row: int, expected: set[int]) -> None:
    assert _seen(_partners(rule), row) == expected


def test_a_partner_is_a_function_of_seed_epoch_and_position() -> None:
    first, again = _partners(RULES["random"]), _partners(RULES["random"])
    other = Partners(PartnerRule.model_validate(RULES["random"]), COLUMNS, 8, seed=2)
    drawn = [[one.partner(1, position, 3) for position in range(50)] for one in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_partners_are_drawn_evenly() -> None:
    counts = np.bincount([_partners(RULES["random"]).partner(0, position, 2) for position in range(3500)], minlength=8)
    assert counts[2] == 0
    assert (abs(np.delete(counts, 2) - 500) < 100).all()


def test_films_without_a_partner_are_counted() -> None:
    assert _partners(RULES["study"]).count_alone() == (1, 8)
    assert _partners(RULES["other_view"]).count_alone() == (5, 8)
    assert _partners({"same": ["study"], "itself": True}).count_alone() == (1, 8)
