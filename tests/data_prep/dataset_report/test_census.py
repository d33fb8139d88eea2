"""The census counts all films; a public one names no rare value and no year."""

import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import HEADERS_FILE
from data_prep.cli.main import main
from data_prep.dataset_report.census import (
    CENSUS_SCHEMA,
    OTHER,
    Census,
    Facet,
    compute_census,
    compute_public_census,
)
from data_prep.dataset_report.census_columns import PUBLIC_COLUMNS, name_bins
from data_prep.errors import ArchiveError, ShardFormatError
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.rare_values import MIN_PATIENTS
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from tests.builders.private_builder import make_private, settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("census")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(root, patch), root / "public", settings())
    return root


def index_of(*rows: dict[str, object]) -> pa.Table:
    """Index with the columns of a census; each film has its own patient by default."""
    plain = {"bits_stored": 12, "source_rows": 2000, "source_columns": 1500, "patient_known": True, "study": "s"}
    films = [plain | {"patient": f"p{number}"} | row for number, row in enumerate(rows)]
    return pa.Table.from_pylist(films, pa.schema([INDEX_SCHEMA.field(name) for name in PUBLIC_COLUMNS]))


def facet(census: Census, name: str) -> Facet:
    return next(one for one in census.facets if one.name == name)


def cells(census: Census, name: str) -> list[tuple[str, int, int]]:
    return [(cell.value, cell.films, cell.patients) for cell in facet(census, name).cells]


def test_private_census_has_rare_values_years_modality_and_transfer_syntax(made: Path) -> None:
    census = compute_census(made / "private")
    assert census.private
    assert (census.films, census.patients, census.unknown) == (17, 6, 2)  # the two images state no patient
    assert cells(census, "source") == [("dicom", 15, 6), ("jpeg", 1, 1), ("png", 1, 1)]
    assert cells(census, "modality") == [("DX", 13, 6), ("CR", 2, 2), ("not stated", 2, 2)]
    assert cells(census, "body_part")[-1] == ("not stated", 5, 5)
    assert cells(census, "transfer_syntax")[0] == ("Explicit VR Little Endian (1.2.840.10008.1.2.1)", 15, 6)
    assert sum(films for _, films, _ in cells(census, "year")) == census.films
    assert "Do not share it" in str(census)


def test_cells_of_a_facet_add_up_to_all_films(made: Path) -> None:
    for census in (compute_census(made / "private"), compute_census(made / "public")):
        assert census.facets
        for one in census.facets:
            assert sum(cell.films for cell in one.cells) == census.films, one.name


def test_rare_values_are_merged_in_a_public_census() -> None:
    many = [{"model": "Axiom", "age_years": 50, "view": "PA"}] * MIN_PATIENTS
    few = [{"model": f"Rare {number}", "age_years": 3, "view": None} for number in range(3)]
    census = compute_public_census(index_of(*many, *few))
    assert cells(census, "model") == [("Axiom", MIN_PATIENTS, MIN_PATIENTS), (OTHER, 3, 3)]
    assert str(facet(census, "model").cells[1]) == "other (3 rare values)"
    assert cells(census, "age") == [("50 to 59 years", MIN_PATIENTS, MIN_PATIENTS), (OTHER, 3, 3)]
    assert cells(census, "view") == [("PA", MIN_PATIENTS, MIN_PATIENTS), ("not stated", 3, 3)]
    assert "Rare" not in census.csv() + str(census) + str(census.table().to_pydict())


def test_values_of_few_patients_are_rare_for_any_number_of_films() -> None:
    """A device with 500 films of one patient identifies that patient as much as one with a single film."""
    census = compute_public_census(index_of(*[{"model": "One", "patient": "p"}] * 500))
    assert cells(census, "model") == [(OTHER, 500, 1)]


def test_public_census_holds_neither_year_nor_key(made: Path) -> None:
    census = compute_census(made / "public")
    assert not {"year", "transfer_syntax", "modality", "split"} & {one.name for one in census.facets}
    keys = {str(value) for name in ("key", "patient", "study") for value in _index(made)[name].to_pylist()}
    assert not any(key in census.csv() for key in keys)


def _index(made: Path) -> pa.Table:
    return pq.read_table(made / "public" / "index.parquet")


def test_films_per_patient_are_counted_by_patient() -> None:
    two = [{"patient": f"p{number // 2}"} for number in range(2 * MIN_PATIENTS)]
    unknown = [{"patient": f"u{number}", "patient_known": False} for number in range(MIN_PATIENTS)]
    census = compute_public_census(index_of(*two, *unknown))
    assert cells(census, "films_per_patient") == [
        ("2 films", 2 * MIN_PATIENTS, MIN_PATIENTS),
        ("patient not known", MIN_PATIENTS, MIN_PATIENTS),
    ]
    assert (census.patients, census.unknown) == (MIN_PATIENTS, MIN_PATIENTS)


def test_an_edge_belongs_to_the_bin_above() -> None:
    assert name_bins((1, 2), "MP") == ["under 1 MP", "1 to 2 MP", "2 MP and more"]
    assert name_bins((2, 4, 6), "films", first=1) == ["1 film", "2 to 3 films", "4 to 5 films", "6 films and more"]
    rows = [{"source_rows": 1000, "source_columns": width} for width in (999, 1000, 1999, 2000) for _ in range(10)]
    names = [value for value, _, _ in cells(compute_public_census(index_of(*rows)), "megapixels")]
    assert names == ["under 1 MP", "1 to 2 MP", "2 to 4 MP"]
    ages = [{"age_years": age} for age in (0, 1, 9, 10, 90) for _ in range(10)]
    found = cells(compute_public_census(index_of(*ages)), "age")
    assert found == [
        ("0 years", 10, 10),
        ("1 to 9 years", 20, 20),
        ("10 to 19 years", 10, 10),
        ("80 years and more", 10, 10),
    ]


def test_a_census_without_films_is_empty() -> None:
    census = compute_public_census(index_of())
    assert (census.films, census.patients, census.studies) == (0, 0, 0)
    assert all(one.cells == () and one.is_unstated for one in census.facets)
    assert "0 films" in str(census)


def test_tables_and_page_are_written(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["census", str(made / "public"), "--out", str(tmp_path / "census")]) == 0
    assert "Body part" in capsys.readouterr().out
    table = pq.read_table(tmp_path / "census" / "census.parquet")
    assert table.schema.equals(CENSUS_SCHEMA) and table.num_rows > 10
    assert (tmp_path / "census" / "census.csv").read_text().count("\n") == table.num_rows + 1
    page = (tmp_path / "census" / "census.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "http" not in page.replace("http-equiv", "")


def test_a_private_census_stays_in_the_private_folder(made: Path, tmp_path: Path) -> None:
    private = made / "private"
    for place in (tmp_path / "census", made / "public", made / "public" / "census"):
        assert main(["census", str(private), "--out", str(place)]) == 2
        assert not (place / "census.csv").exists()
    assert main(["census", str(private), "--out", str(private / "census")]) == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (private / "census").iterdir()}
    assert modes == {0o600} and stat.S_IMODE((private / "census").stat().st_mode) == 0o700


def test_a_public_census_stays_out_of_the_public_folder(made: Path) -> None:
    assert main(["census", str(made / "public"), "--out", str(made / "public")]) == 2
    assert audit(made / "public").problems == []


def test_years_are_not_counted_without_the_headers_of_the_scan(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "private"
    copy.mkdir()
    for path in (made / "private").glob("*.parquet"):
        (copy / path.name).write_bytes(path.read_bytes())
    assert "year" not in {one.name for one in compute_census(copy).facets}
    (copy / HEADERS_FILE).write_bytes(b"cut")
    assert "year" not in {one.name for one in compute_census(copy).facets}


def test_other_folders_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="neither"):
        compute_census(tmp_path)
    with pytest.raises(ShardFormatError, match="does not exist"):
        compute_census(tmp_path / "absent")
