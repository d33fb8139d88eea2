"""Who is planted in one place of an archive or of label files is in no public byte; a failure names the place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.planted.planted_archive import PLACES
from tests.builders.planted.planted_person import Released, needles, person
from tests.builders.private_builder import SECRET
from tests.privacy.planted_chain import CONSENT, LABEL_PLACES, files_below, make_release, temporary_files

PACKED = {"attributes of VR FL", "attributes of VR SL", "attributes of VR UL", "colour profile of PNG"}
"""Places whose bytes hold the person in four bytes, or compressed."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Released]]:
    root = tmp_path_factory.mktemp("planted")
    with temporary_files(root / "temporary"), pytest.MonkeyPatch.context() as patch:
        for module in ("verify", "audit"):
            patch.setattr(f"data_prep.verification.{module}.process_count", lambda workers, tasks: 1)
        yield root, make_release(root)


@pytest.mark.parametrize("place", [*PLACES, *LABEL_PLACES, CONSENT])
def test_nobody_is_in_a_public_byte(place: str, made: tuple[Path, Released]) -> None:
    root, released = made
    if place not in PACKED:
        planted = files_below(root / "archive") + files_below(root / "tables")
        assert any(needle in planted for needle in needles(place)), "nobody was planted"
    assert released.names_with(place) == []


def test_the_audit_finds_nobody(made: tuple[Path, Released]) -> None:
    printed = (made[0] / "printed.txt").read_text()
    assert printed.count("nothing outside the allow-list") == 2 and "NOT SAFE TO SHARE" not in printed


def test_temporary_files_are_removed(made: tuple[Path, Released]) -> None:
    assert [path.name for path in (made[0] / "temporary").rglob("*")] == []


def test_the_secret_is_nowhere(made: tuple[Path, Released]) -> None:
    root, released = made
    assert not [name for name, data in released.parts.items() if SECRET.lower().encode() in data]
    assert SECRET.lower().encode() not in files_below(root / "private")


def test_all_that_is_made_was_read(made: tuple[Path, Released]) -> None:
    parts = "\n".join(made[1].parts)
    for name in (
        "index.parquet read",
        "labels.parquet read",
        "boxes.parquet",
        "pixels",
        "report.html",
        "preview.png",
        "films.csv",
        "census.html",
        "submitted/index.parquet",
        "published",
        "generation-001/index.parquet",
        "printed",
    ):
        assert name in parts, name
    assert b"fracture" in made[1].parts["public: labels.parquet read"]


@pytest.mark.parametrize(
    "leak",
    [
        "{who.given} {who.family}",
        "{who.family}",
        "{who.number}",
        "{who.uid}",
        "{who.birth:%d%m%Y}",
        "{who.birth:%Y-%m-%d}",
    ],
)
@pytest.mark.parametrize("code", ["utf-8", "latin-1", "utf-16-le"])
def test_the_search_finds_a_leak(leak: str, code: str) -> None:
    who = person("a leak")
    data = b"xyz" + leak.format(who=who).upper().encode(code) + b"xyz"
    released = Released({"data": data, "other": b"something else"})
    assert released.names_with("a leak") == ["data"] and released.names_with("another place") == []
