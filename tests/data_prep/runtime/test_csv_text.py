"""Cells are safe in a spreadsheet and in a terminal, and what is read back is what was written."""

from pathlib import Path

import pytest

from data_prep.annotations.csv_table import read_csv_rows
from data_prep.runtime.csv_text import csv_text, plain_cell


@pytest.mark.parametrize("formula", ['=HYPERLINK("h")', "@SUM(1+1)*cmd", "+cmd|' /C calc'!A0", "-2+3+cmd", "-PAT007"])
def test_a_formula_is_text_and_is_read_back(formula: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(csv_text([("word",), (formula,)]))
    assert csv_text([(formula,)]).lstrip('"').startswith("'")
    assert list(read_csv_rows(tmp_path / "table.csv"))[1] == (2, [formula])


@pytest.mark.parametrize("number", [-5, -0.25, "-0.25", "+3", "-1e-05"])
def test_a_number_stays_one(number: object) -> None:
    assert csv_text([(number,)]) == f"{number}\n"


def test_letters_that_control_a_terminal_are_escaped() -> None:
    assert csv_text([("\x1b]0;pwn\x07\x1b[31m", "a\tb\nc", "Röntgen 手", None)]) == (
        "\\x1b]0;pwn\\x07\\x1b[31m,a\\tb\\nc,Röntgen 手,\n"
    )


def test_other_quotes_are_kept() -> None:
    assert plain_cell("'tis") == "'tis" and plain_cell("''=1") == "''=1" and plain_cell("'=1") == "=1"
