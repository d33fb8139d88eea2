"""A single film equals its shard to the byte; files that sharding rejects are rejected for the same reason."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import read_linkage
from data_prep.errors import FilmReject, Reason
from data_prep.planning.settings import ShardSettings
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.shard import shard
from data_prep.sharding.single_film import ArchiveFile, PreparationSettings, PreparedFilm, list_files, read_films
from tests.builders.dicom_builder import DX_FOR_PROCESSING, write_film
from tests.builders.private_builder import anatomy, make_private, settings, write_archive
from tests.data_prep.shard_format.test_frames import frames, write_frames

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs" / "dicom"
OF_THE_ARCHIVE = {"key", "patient", "study", "series", "site", "patient_known", "study_day", "split", "model"}
"""Fields of a sidecar that depend on the secret or on other files."""


def sharded(folder: Path, chosen: ShardSettings, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    private = make_private(folder, monkeypatch)
    shard(private, folder / "public", chosen)
    return private, folder / "public"


def in_shards(private: Path, public: Path) -> dict[str, list[tuple[bytes, Sidecar]]]:
    """Path → (stream, sidecar) of its frames."""
    refused = read_rejects(private, public)
    linkage = read_linkage(private).select(["key", "path"]).to_pylist()
    paths = {row["key"]: row["path"] for row in linkage if row["path"] not in refused}
    found: dict[str, list[tuple[bytes, Sidecar]]] = {}
    keys: dict[str, str] = {}
    for row in sorted(read_index(public).to_pylist(), key=lambda row: row["frame"] or 0):
        data = (public / row["shard"]).read_bytes()
        film = data[row["film_offset"] : row["film_offset"] + row["film_size"]]
        sidecar = Sidecar.model_validate_json(data[row["sidecar_offset"] :][: row["sidecar_size"]])
        key = row["key"] if not row["frame"] else keys[row["study"]]
        keys[row["study"]] = key
        found.setdefault(paths[key], []).append((film, sidecar))
    return found


def alone(path: str, preparation: PreparationSettings) -> list[PreparedFilm]:
    return read_films(ArchiveFile(path, Path(path).name), preparation)


def assert_same(path: str, shard_films: list[tuple[bytes, Sidecar]], preparation: PreparationSettings) -> None:
    films = alone(path, preparation)
    assert [film.stream for film in films] == [stream for stream, _ in shard_films]
    for film, (_, sidecar) in zip(films, shard_films, strict=True):
        assert film.sidecar.model_dump(exclude=OF_THE_ARCHIVE) == sidecar.model_dump(exclude=OF_THE_ARCHIVE)


@pytest.mark.parametrize("codec", ["htj2k", "png", "jpeg"])
def test_a_film_alone_equals_its_shard_to_the_byte(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "archive", patients=2)
    square = {"PixelSpacing": [0.2, 0.1], "patient_id": "P7", "study": "wide pixels"}
    write_film(tmp_path / "archive" / "wide.dcm", values=anatomy("wide", 70, 180), **square)
    write_frames(tmp_path / "archive" / "frames.dcm", frames("a", "b"), study="two frames")
    private, public = sharded(tmp_path, settings(codec=codec), monkeypatch)
    preparation = PreparationSettings.of(read_dataset_card(public).config)
    held = in_shards(private, public)
    assert len(held) == 8
    assert sum(len(films) for films in held.values()) == 9
    for path, films in held.items():
        assert_same(path, films, preparation)


def test_what_sharding_rejects_is_rejected_for_the_same_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = sharded(tmp_path, settings(), monkeypatch)
    rejects = read_rejects(private, public)
    assert len(rejects) == 4
    for path, reason in rejects.items():
        with pytest.raises(FilmReject) as refused:
            alone(path, PreparationSettings.of(settings().model_dump()))
        wanted = Reason.FOR_PROCESSING if reason == Reason.PROCESSING_TWIN else reason
        assert refused.value.reason == wanted


def read_rejects(private: Path, public: Path) -> dict[str, str]:
    rows = pq.read_table(public / "rejects.parquet").to_pylist()
    linkage = read_linkage(private)
    paths = dict(zip(linkage["row"].to_pylist(), linkage["path"].to_pylist(), strict=True))
    return {paths[row["row"]]: row["reason"] for row in rows}


def test_raw_data_are_accepted_where_the_shards_accepted_them(tmp_path: Path) -> None:
    write_film(tmp_path / "raw.dcm", values=anatomy("raw"), sop_class=DX_FOR_PROCESSING)
    path = str(tmp_path / "raw.dcm")
    with pytest.raises(FilmReject, match="for_processing"):
        alone(path, PreparationSettings())
    assert len(alone(path, PreparationSettings.of({"selection": {"for_processing": "keep"}}))) == 1


def test_the_header_stays_with_the_film_and_no_pixels_do(tmp_path: Path) -> None:
    written = write_film(tmp_path / "film.dcm", values=anatomy("film"), PatientName="DOE^JANE", PatientID="MRN-1")
    (film,) = alone(str(tmp_path / "film.dcm"), PreparationSettings())
    assert film.header is not None
    assert film.header.PatientName == "DOE^JANE"
    assert film.header.SOPInstanceUID == written.SOPInstanceUID
    assert "PixelData" not in film.header
    assert "DOE" not in film.sidecar.model_dump_json()


def test_a_missing_file_is_rejected_with_a_reason(tmp_path: Path) -> None:
    write_film(tmp_path / "film.dcm", values=anatomy("film"))
    (file,) = list_files([tmp_path])
    (tmp_path / "film.dcm").unlink()
    with pytest.raises(FilmReject):
        read_films(file, PreparationSettings())


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the real films are not beside the checkout")
def test_real_films_alone_equal_their_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").symlink_to(REAL)
    keep = dict.fromkeys(("secondary_capture", "digitized_film", "burned_in_annotation", "screenshot"), "keep")
    chosen = settings(max_side=512, selection=keep, films_per_shard=50)
    private, public = sharded(tmp_path, chosen, monkeypatch)
    held = in_shards(private, public)
    assert len(held) >= 5
    for path, films in held.items():
        assert_same(path, films, PreparationSettings.of(chosen.model_dump()))
    for path, reason in read_rejects(private, public).items():
        if reason not in (Reason.DUPLICATE, Reason.UID_CONFLICT):
            with pytest.raises(FilmReject, match=reason):
                alone(path, PreparationSettings.of(chosen.model_dump()))


def test_every_preparation_of_a_real_config_is_understood() -> None:
    config = ShardSettings(max_side="native", codec="png").model_dump(mode="json")
    assert PreparationSettings.of(config) == PreparationSettings(max_side="native", codec="png")
    assert PreparationSettings.of({}) == PreparationSettings()


@pytest.mark.parametrize(
    "header",
    [
        {"PatientSpeciesDescription": "Canine", "PatientBreedDescription": "Beagle"},
        {"PatientBreedDescription": "Beagle", "PatientSexNeutered": "ALTERED"},
    ],
)
def test_a_film_of_an_animal_is_refused(header: dict[str, str], tmp_path: Path) -> None:
    write_film(tmp_path / "film.dcm", values=anatomy(1), BodyPartExamined="HAND", **header)
    with pytest.raises(FilmReject) as refused:
        alone(str(tmp_path / "film.dcm"), PreparationSettings())
    assert refused.value.reason is Reason.NOT_HUMAN
    write_film(tmp_path / "person.dcm", values=anatomy(1), PatientSpeciesDescription="Homo sapiens")
    assert len(alone(str(tmp_path / "person.dcm"), PreparationSettings())) == 1
