"""Every fault that was reported from the field has a test, by name."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("reported_faults.csv")
PAGES = ROOT.parent / "shared" / "cases"
"""The pages of the reports, where they lie beside the checkout."""
_ROW = re.compile(r"^\| ([A-Z]\d{1,2}) \|", re.MULTILINE)


def _table() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_the_named_tests_exist() -> None:
    rows = _table()
    assert len(rows) > 100 and len({(row["page"], row["row"]) for row in rows}) == len(rows)
    missing = []
    for row in rows:
        path, _, name = row["test"].partition("::")
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8"):
            missing.append((row["page"], row["row"], row["test"]))
    assert missing == []


@pytest.mark.shared
@pytest.mark.skipif(not PAGES.is_dir(), reason="the pages of the reports are not beside the checkout")
def test_every_row_of_the_pages_is_in_the_table() -> None:
    listed = {(row["page"], row["row"]) for row in _table()}
    pages = sorted({page for page, _ in listed})
    assert listed == {(page, row) for page in pages for row in _ROW.findall((PAGES / f"{page}.md").read_text())}
