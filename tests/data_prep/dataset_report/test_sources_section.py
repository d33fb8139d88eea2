"""The private report page sets what header, folder and table state side by side; the public one has no word of it."""

from pathlib import Path

import pytest

from data_prep.dataset_report.points_to_decide import list_decisions
from data_prep.dataset_report.report_content import collect_content
from data_prep.dataset_report.report_page import write_report
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.sharding.shard import shard
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve wrists, of which the header calls nine HAND, and four knees."""
    root = tmp_path_factory.mktemp("sources")
    for number in range(16):
        folder, word = ("HG_NEU", "HAND" if number < 9 else "WRIST") if number < 12 else ("KNIE_NEU", "KNEE")
        write_film(
            root / "archive" / folder / f"p{number}" / "film", values=anatomy(number), window=(2048, 4096),
            patient_id=f"N{number}", BodyPartExamined=word, ImageType=["ORIGINAL", "PRIMARY"],
        )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAE_RAD_KEY", SECRET)
        values = {"workers": 1, "image_pattern": "^(?P<body_part>[^/]+)/", "facts": {"order": ["path", "header"]}}
        scan([root / "archive"], root / "private", ScanSettings.model_validate(values))
        shard(root / "private", root / "public", settings())
    return root


def test_the_private_page_has_the_cross_table(made: Path) -> None:
    write_report(made / "public", made / "private" / "report.html", private=made / "private")
    page = (made / "private" / "report.html").read_text(encoding="utf-8")
    section = page.partition('<section id="sources">')[2].partition("</section>")[0]
    rows = [row.replace("\n", "") for row in section.split("<tr>")[1:]]
    assert "Body part: header (rows) against path (columns)" in section and "body part 9" in section
    assert ">WRIST</th>" in rows[0] and rows[0].index(">WRIST</th>") < rows[0].index(">KNEE</th>")
    (hand,) = (row for row in rows if '"row">HAND</th>' in row)
    assert hand.startswith('<th scope="row">HAND</th><td class="num">9</td><td class="num"></td>')
    (wrist,) = (row for row in rows if '"row">WRIST</th>' in row)
    assert '<td class="num same">3</td>' in wrist
    (decision,) = (
        one for one in list_decisions(collect_content(made / "public", made / "private")) if one.section == "sources"
    )
    assert decision.title == "Header, folder or table state another body part for 9 films"


def test_the_public_page_names_sources_and_image_types_only(made: Path) -> None:
    write_report(made / "public", made / "report.html")
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "sources" not in page.partition("</nav>")[0] and "Body part: header" not in page
    assert "Body part stated by" in page and "ORIGINAL/PRIMARY" in page


def test_a_scan_of_an_earlier_release_has_no_such_section(made: Path, tmp_path: Path) -> None:
    stated = made / "private" / "facts.parquet"
    data = stated.read_bytes()
    stated.unlink()
    try:
        content = collect_content(made / "public", made / "private")
    finally:
        stated.write_bytes(data)
    assert content.private is not None and (content.private.cross, content.private.differing) == ([], {})
