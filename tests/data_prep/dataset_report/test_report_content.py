"""The report page is complete and self-contained, escapes all texts, and is written to allowed folders only."""

import json
import re
import shutil
import stat
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import UNMAPPED_FILE, read_linkage
from data_prep.cli.exit_codes import reject_fraction
from data_prep.cli.main import main
from data_prep.dataset_report import film_samples, near_duplicates, plain_words, quality
from data_prep.dataset_report.census import Census, CensusCell, Facet
from data_prep.dataset_report.film_samples import draw_body_part_sheets
from data_prep.dataset_report.points_to_decide import Level, list_decisions
from data_prep.dataset_report.report_content import collect_content
from data_prep.dataset_report.report_page import MAX_PAGE_BYTES, MAX_PAIRS, MAX_SUSPECTS, render_census, write_report
from data_prep.dataset_report.svg_charts import histogram
from data_prep.errors import ArchiveError, Reason, ShardFormatError
from data_prep.pages.html_page import percent
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.parquet_bytes import encode_parquet
from data_prep.shard_format.sidecar import Provenance
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.identifiers import collect_identifiers, remove_public_terms
from tests.builders.private_builder import make_private, settings
from tests.privacy.test_planted import IDENTIFIERS, write_dicoms

EVIL = '<script>alert("x")</script>&<img src=x onerror=y>'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(root, patch), root / "public", settings())
    return root


@pytest.fixture
def public(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "public", tmp_path / "public")


def changed(public: Path, name: str, values: list[object], kind: pa.DataType) -> None:
    """Give a column of the index other values, or add it."""
    index = pq.read_table(public / "index.parquet")
    column = pa.array(values, kind)
    place = index.schema.get_field_index(name)
    with_column = index.append_column(name, column) if place < 0 else index.set_column(place, name, column)
    pq.write_table(with_column, public / "index.parquet")


def page_of(public: Path, tmp_path: Path, private: Path | None = None) -> str:
    out = (private or tmp_path) / "report.html"
    write_report(public, out, private=private)
    return out.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Tags and attributes of a page, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "rect", "line", "polygon", "polyline"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_its_links_have_targets(made: Path, tmp_path: Path) -> None:
    page = page_of(made / "public", tmp_path)
    parsed = Tags(page)
    assert parsed.open == []
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "audio"}
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not {"srcset", "action", "data", "background"} & set(attributes), tag
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    policy = next(attributes["content"] for tag, attributes in parsed.tags if attributes.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'; img-src data:")
    anchors = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    links = {str(attributes["href"])[1:] for tag, attributes in parsed.tags if tag == "a"}
    assert links <= anchors and len(links) > 10
    assert all(attributes.get("alt") for tag, attributes in parsed.tags if tag == "img")


def test_the_counts_of_files_add_up_and_every_reason_is_explained(made: Path, tmp_path: Path) -> None:
    page = page_of(made / "public", tmp_path)
    assert "18 files came in = 14 written + 4 rejected + 0 dropped." in page
    card = json.loads((made / "public" / "dataset.json").read_text())
    for reason in card["reasons"]:
        assert f"<code>{reason}</code>" in page and plain_words.REASONS[reason].meaning in page
    assert card["dataset_sha256"] in page


def test_the_fraction_that_could_not_be_used_is_that_of_the_command(made: Path) -> None:
    card = read_dataset_card(made / "public")
    decisions = list_decisions(collect_content(made / "public", None))
    (decision,) = (one for one in decisions if "could not be used" in one.title)
    kinds = {reason: plain_words.explain_reason(reason).kind for reason in card.reasons}
    lost = sum(count for reason, count in card.reasons.items() if kinds[reason] is plain_words.Kind.UNUSABLE)
    assert lost and f"{lost} files that should" in decision.meaning
    assert decision.title.startswith(percent(reject_fraction(card)))


def test_fractions_are_never_rounded_to_none_or_all() -> None:
    texts = [percent(part) for part in (0, 1e-6, 0.0123, 0.5, 0.99999, 1)]
    assert texts == ["0 %", "< 0.1 %", "1.2 %", "50 %", "> 99.9 %", "100 %"]


def test_every_reason_provenance_and_code_has_plain_words(made: Path) -> None:
    assert {reason.value for reason in Reason} <= set(plain_words.REASONS)
    assert set(get_args(Provenance)) <= set(plain_words.PROVENANCE)
    assert set(DEIDENTIFICATION) <= set(plain_words.CODES)


def test_films_on_the_page_are_sampled_by_seed_from_the_index(made: Path) -> None:
    index = pq.read_table(made / "public" / "index.parquet")
    sheets = draw_body_part_sheets(made / "public", index)
    again = draw_body_part_sheets(made / "public", index)
    assert sheets == again
    assert {sheet.title: sheet.films for sheet in sheets} == {"rare body parts": 12, "body part not stated": 2}
    pictures = [picture for sheet in sheets for picture in sheet.pictures]
    keys = set(pc.utf8_slice_codeunits(index["key"], 0, 8).to_pylist())
    assert len(pictures) == 14 and {picture.note.split(" · ")[-1] for picture in pictures} == keys


def without_pictures(page: str) -> str:
    return re.sub(r"data:image/jpeg;base64,[^\"]*", "", page)


def test_no_key_and_no_path_is_on_a_public_page(made: Path, tmp_path: Path) -> None:
    page = page_of(made / "public", tmp_path)
    index = pq.read_table(made / "public" / "index.parquet")
    assert not any(key in page for name in ("key", "patient", "study") for key in index[name].to_pylist())
    assert str(tmp_path) not in page and str(made) not in page


def test_nothing_planted_is_on_a_page_or_in_a_census(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No attribute of the standard, private element or file name, in any encoding."""
    write_dicoms(tmp_path / "archive")
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    shard(private, public, settings())
    capfd.readouterr()
    assert main(["report", str(public), "--out", str(tmp_path / "report.html")]) == 0
    assert main(["census", str(public), "--out", str(tmp_path / "census")]) == 0
    assert main(["census", str(private)]) == 0
    written = [*(path.read_bytes() for path in (tmp_path / "census").iterdir()), "".join(capfd.readouterr()).encode()]
    written.append((tmp_path / "report.html").read_bytes())
    texts = remove_public_terms(collect_identifiers(read_linkage(private)))
    originals = {text.encode() for text in texts if len(text) > 7}
    originals -= {part.encode() for part in tmp_path.parts}
    assert len(originals) > 5 and len(written) == 5
    for data in written:
        assert [identifier for identifier in {*IDENTIFIERS, *originals} if identifier.lower() in data.lower()] == []


def test_header_text_cannot_become_markup(made: Path, public: Path, tmp_path: Path) -> None:
    """The allow-list refuses such values; the page does not rely on that."""
    count = pq.read_metadata(public / "index.parquet").num_rows
    for name in ("body_part", "view", "model", "manufacturer", "photometric", "display_source", "laterality"):
        changed(public, name, [EVIL] * count, pa.string())
    changed(public, "patient", [f"{number:032x}" for number in range(count)], pa.string())
    changed(public, "provenance", [[EVIL]] * count, pa.list_(pa.string()))
    page = page_of(public, tmp_path)
    assert EVIL not in page and "<script" not in page and "onerror=y>" not in page
    assert "&lt;script&gt;" in page
    assert Tags(page).open == []


def test_unmapped_terms_are_escaped_on_the_private_page(made: Path) -> None:
    private = made / "private"
    before = (private / UNMAPPED_FILE).read_bytes()
    try:
        (private / UNMAPPED_FILE).write_text(f'field,word,films\nbody_part,"{EVIL.replace(chr(34), chr(34) * 2)}",7\n')
        page = page_of(made / "public", made, private)
    finally:
        (private / UNMAPPED_FILE).write_bytes(before)
    assert EVIL not in page and "&lt;script&gt;" in page and "Unknown terms" in page


def test_a_private_page_is_marked_and_stays_in_the_private_folder(made: Path, tmp_path: Path) -> None:
    for place in (tmp_path, made / "public", made):
        with pytest.raises(ArchiveError, match=r"give another --out|outside the private folder"):
            write_report(made / "public", place / "report.html", private=made / "private")
        assert not (place / "report.html").exists()
    page = page_of(made / "public", tmp_path, made / "private")
    assert "Private page." in page and "Year of the study" in page
    assert stat.S_IMODE((made / "private" / "report.html").stat().st_mode) == 0o600
    public = page_of(made / "public", tmp_path)
    assert "Private page." not in public and "Year of the study" not in public


def test_no_page_lies_in_the_public_folder(made: Path) -> None:
    assert main(["report", str(made / "public"), "--out", str(made / "public" / "report.html")]) == 2
    assert audit(made / "public").problems == []


def test_a_private_folder_of_another_secret_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").symlink_to(made / "archive")
    other = make_private(tmp_path, monkeypatch, secret="another secret, long enough")
    with pytest.raises(ArchiveError, match="another secret"):
        write_report(made / "public", other / "report.html", private=other)


def test_an_interrupted_run_is_reported_as_unfinished(public: Path, tmp_path: Path) -> None:
    card = json.loads((public / "dataset.json").read_text())
    unfinished = {name: card[name] for name in ("format_version", "key_fingerprint", "config")}
    (public / ".unfinished.json").write_text(json.dumps(unfinished))
    for name in ("dataset.json", "index.parquet", "rejects.parquet", "train-000000.json"):
        (public / name).unlink()
    page = page_of(public, tmp_path)
    assert "<strong>Unfinished.</strong>" in page and "The run is unfinished" in page
    content = collect_content(public, None)
    assert 0 < content.films < 14 and f"{content.films} films are written so far" in page


def shard_some_files(root: Path, monkeypatch: pytest.MonkeyPatch, keep: Callable[[Path], bool]) -> Path:
    """Shard an archive of the files for which ``keep`` is true."""
    make_private(root, monkeypatch)
    for path in sorted((root / "archive").rglob("*")):
        if path.is_file() and not keep(path):
            path.unlink()
    private = make_private(root, monkeypatch)
    shard(private, root / "public", settings())
    return root / "public"


@pytest.mark.parametrize(
    ("keep", "count"),
    [(lambda path: path.name in ("note.txt", "cut.dcm", "small.dcm"), 0), (lambda path: path.name == "a.png", 1)],
    ids=["all rejected", "one film"],
)
def test_small_results_make_a_page(
    keep: Callable[[Path], bool], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = shard_some_files(tmp_path, monkeypatch, keep)
    page = page_of(public, tmp_path)
    assert Tags(page).open == []
    assert ("No film was written" in page) == (count == 0)
    assert collect_content(public, None).films == count
    assert not re.search(r"\bnan\b", without_pictures(page), re.IGNORECASE)


def test_columns_that_are_not_recorded_are_reported_as_such(made: Path, public: Path, tmp_path: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    gone = [
        name
        for name in (near_duplicates.HASH, "clipped_low", "clipped_high", "polarity_suspect")
        if name in index.column_names
    ]
    (public / "index.parquet").write_bytes(encode_parquet(index.drop_columns(gone)))
    page = page_of(public, tmp_path)
    assert page.count("ot recorded in these shards") == 4


def test_quality_columns_are_shown_and_need_a_decision(public: Path, tmp_path: Path) -> None:
    count = pq.read_metadata(public / "index.parquet").num_rows
    changed(public, "clipped_low", [0.0] * count, pa.float32())
    changed(public, "clipped_high", [0.3] * 3 + [0.0] * (count - 3), pa.float32())
    changed(public, "polarity_suspect", [True, False] * (count // 2), pa.bool_())
    index = pq.read_table(public / "index.parquet")
    patients, splits = (index[name].to_pylist() for name in ("patient", "split"))
    hashes = [(number + 1) * 0x0123456789ABCDEF % 2**64 for number in range(count)]
    outline = index["photometric"].to_pylist()  # the edge of the ellipse is alike, unless one film is stored inverted
    pairs = ((a, b) for a in range(count) for b in range(count) if (splits[a], splits[b]) == ("test", "train"))
    test, train = next((a, b) for a, b in pairs if outline[a] != outline[b] and patients[a] != patients[b])
    hashes[test] = hashes[train] ^ 0b101
    changed(public, near_duplicates.HASH, hashes, pa.uint64())
    content = collect_content(public, None)
    near = content.near_duplicate_pairs
    assert near is not None and near.counts[near_duplicates.ACROSS_SPLITS] == 1
    pair = near.pairs[0]
    assert set(pair.rows) == {test, train} and not pair.is_same_picture
    levels = {decision.title: decision.level for decision in list_decisions(content)}
    assert not any("same picture" in title for title in levels)
    assert levels["7 films may have black and white exchanged"] is Level.DECIDE
    assert any(title.endswith("clipped to white") for title in levels)
    assert not any(title.endswith("clipped to black") for title in levels)
    page = page_of(public, tmp_path)
    assert "· similar (" in page and "7 of 14 films may have black and white exchanged" in page


def test_a_patient_in_two_splits_is_a_stop(public: Path, tmp_path: Path) -> None:
    assert collect_content(public, None).split_leaks == quality.SplitLeaks(0, 0, 0)
    index = pq.read_table(public / "index.parquet")
    changed(public, "patient", ["p"] * index.num_rows, pa.string())
    content = collect_content(public, None)
    assert content.split_leaks.patients == 1
    assert any(one.level is Level.STOP and "more than one split" in one.title for one in list_decisions(content))


def test_equal_pixels_of_two_patients_are_found(public: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    pixels, patients = index[near_duplicates.pixel_checksum_column(index)].to_pylist(), index["patient"].to_pylist()
    other = next(place for place, patient in enumerate(patients) if patient != patients[0])
    pixels[other] = pixels[0]
    changed(public, near_duplicates.pixel_checksum_column(index), pixels, pa.string())
    equal = collect_content(public, None).equal_pixel_pairs
    assert sum(equal.counts.values()) == 1 and equal.counts[near_duplicates.ONE_PATIENT] == 0
    assert equal.films == 2 and set(equal.pairs[0].rows) == {0, other} and equal.pairs[0].is_same_picture


def test_one_picture_in_two_splits_is_found_and_needs_a_decision(public: Path, tmp_path: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    splits = index["split"].to_pylist()
    test, train = splits.index("test"), splits.index("train")
    for name in ("shard", "film_offset", "film_size", "sidecar_offset", "sidecar_size"):
        values = index[name].to_pylist()
        values[test] = values[train]
        changed(public, name, values, index.schema.field(name).type)
    hashes = np.random.default_rng(0).integers(0, 2**64, index.num_rows, dtype=np.uint64)
    hashes[test] = hashes[train] ^ np.uint64(1)
    changed(public, near_duplicates.HASH, hashes.tolist(), pa.uint64())
    content = collect_content(public, None)
    near = content.near_duplicate_pairs
    assert near is not None and near.count_same_pictures(near_duplicates.ACROSS_SPLITS) == 1
    levels = {decision.title: decision.level for decision in list_decisions(content)}
    assert levels["1 pair of films in two splits show the same picture"] is Level.DECIDE
    assert "same picture (1.00)" in page_of(public, tmp_path)


def test_user_errors_are_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["report", str(tmp_path), "--out", str(tmp_path / "r.html")], "is not a public folder"),
        (["report", str(made / "public"), "--out", str(tmp_path / "none" / "r.html")], "cannot be written"),
        (
            ["report", str(made / "public"), "--out", str(tmp_path / "r.html"), "--private", str(tmp_path)],
            "no private folder",
        ),
        (["census", str(tmp_path)], "neither"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_damaged_shard_is_named(public: Path, tmp_path: Path) -> None:
    (public / "train-000000.tar").write_bytes(b"")
    with pytest.raises(ShardFormatError, match=r"train-000000\.tar is (missing or )?damaged"):
        write_report(public, tmp_path / "report.html")


def test_histograms_count_every_value_and_escape_their_texts() -> None:
    values = np.concatenate([np.linspace(0, 10, 999), [1e9, np.nan]])
    drawn = histogram(f"Sizes {EVIL}", "mm", values)
    assert drawn is not None and drawn.counts.sum() == 1000 and drawn.edges[-1] < 20
    svg = str(drawn.svg())
    assert EVIL not in svg and "&lt;script&gt;" in svg
    assert histogram("None", "mm", np.array([np.nan])) is None
    constant = histogram("One", "mm", np.full(5, 3.0))
    assert constant is not None and constant.counts.sum() == 5 and "nan" not in str(constant.svg())


def test_census_page_escapes_values() -> None:
    census = Census(False, 10, 10, 10, 0, (Facet("model", "Model", (CensusCell(EVIL, 10, 10),)),))
    page = render_census(census)
    assert EVIL not in page and "&lt;script&gt;" in page


def test_the_page_of_many_films_is_small(made: Path, tmp_path: Path) -> None:
    """The number of pictures on a page is bounded; their size is measured on this folder."""
    parsed = Tags(page_of(made / "public", tmp_path))
    sizes = [len(attributes["src"] or "") for tag, attributes in parsed.tags if tag == "img"]
    pictures = (film_samples.MAX_BODY_PART_SHEETS + 2) * film_samples.FILMS_PER_SHEET + MAX_SUSPECTS + 2 * 2 * MAX_PAIRS
    assert len(sizes) >= 14 and pictures * max(sizes) < MAX_PAGE_BYTES
