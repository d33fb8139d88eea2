"""The audit accepts a valid folder, and finds a single byte beyond the allow-list wherever it is stored."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_prep.archive.manifest import LINKAGE_SCHEMA
from data_prep.cli.main import main
from data_prep.deidentify.allow_list import SIDECAR_RULES
from data_prep.errors import ArchiveError
from data_prep.planning.settings import ShardSettings
from data_prep.shard_format.film_codec import decode_film, encode_film
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.identifiers import collect_identifiers, remove_public_terms
from data_prep.verification.text_search import TextSearch
from tests.builders.private_builder import make_private, settings

pytestmark = pytest.mark.usefixtures("checks_in_this_process")

TEXT = "MRN-0417-3"
SHARD = "train-000000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(root, patch), root / "public", in_process())
    return root


def in_process() -> ShardSettings:
    return settings(runtime={"workers": 1, "isolated": False})


@pytest.fixture
def public(made: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "public"
    copy.mkdir()
    for path in (made / "public").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_a_valid_folder_passes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = audit(made / "public", privates=[made / "private"])
    assert report.problems == []
    assert (report.films, report.searched is not None and report.searched > 30) == (14, True)
    assert report.size == sum(path.stat().st_size for path in (made / "public").iterdir())
    assert main(["audit", str(made / "public"), "--private", str(made / "private")]) == 0
    assert "nothing outside the allow-list" in capsys.readouterr().out


def change_tar(public: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    members = []
    with tarfile.open(public / f"{SHARD}.tar") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            members.append((member, file.read()))
    with tarfile.open(public / f"{SHARD}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (member, data) in enumerate(members):
            changed, content = change(member, data) if number < 2 else (member, data)
            changed.size = len(content)
            tar.addfile(changed, io.BytesIO(content))


def change_sidecar(public: Path, **values: Any) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if not member.name.endswith(".json"):
            return member, data
        fields = json.loads(data)
        for name, value in values.items():
            fields["display"][name[8:]] = value if name.startswith("display_") else fields["display"].get(name[8:])
            if not name.startswith("display_"):
                del fields["display"][name[8:]]
                fields[name] = value
        return member, json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    change_tar(public, change)


def change_film(public: Path, change: Callable[[bytes], bytes]) -> None:
    change_tar(public, lambda member, data: (member, change(data) if member.name.endswith(".j2c") else data))


def change_header(public: Path, **values: Any) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        for name, value in values.items():
            setattr(member, name, value)
        return member, data

    change_tar(public, change)


def append_bytes(public: Path, name: str, data: bytes) -> None:
    (public / name).write_bytes((public / name).read_bytes() + data)


def with_comment(data: bytes) -> bytes:
    """Insert a comment marker before that of the encoder."""
    place = data.index(b"\xff\x64")
    marker = b"\xff\x64" + (len(TEXT) + 4).to_bytes(2, "big") + b"\0\1" + TEXT.encode()
    return data[:place] + marker + data[place:]


def encoded_otherwise(data: bytes) -> bytes:
    """Encode the pixels of the film with other parameters, so that the stream differs from the usual one."""
    import imagecodecs

    return bytes(imagecodecs.htj2k_encode(decode_film(data, bits=12), reversible=True, tlm=True, resolutions=4))


def rewrite_table(public: Path, name: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    table = change(pq.read_table(public / name))
    pq.write_table(table, public / name, **{"compression": "zstd", "version": "2.6", "store_schema": False} | options)


def change_json(public: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((public / name).read_text())
    change(values)
    text = json.dumps(values, indent=2, sort_keys=True) if name == "dataset.json" else json.dumps(values)
    (public / name).write_text(text)


HIDING_PLACES: dict[str, Callable[[Path], object]] = {
    "a file": lambda public: (public / "notes.txt").write_text(TEXT),
    "a folder": lambda public: (public / TEXT).mkdir(),
    "a hidden file": lambda public: (public / ".thumbnail").write_bytes(b""),
    "a link": lambda public: (public / f"{SHARD}.json").rename(public.parent / "x") and (
        public / f"{SHARD}.json"
    ).symlink_to(public.parent / "x"),
    "owner of a member": lambda public: change_header(public, uname="erika"),
    "group number of a member": lambda public: change_header(public, gid=1000),
    "time of a member": lambda public: change_header(public, mtime=1_580_428_800),
    "mode of a member": lambda public: change_header(public, mode=0o600),
    "name of a member": lambda public: change_header(public, name=f"{TEXT}.j2c"),
    "behind the tar": lambda public: append_bytes(public, f"{SHARD}.tar", TEXT.encode()),
    "blocks behind the tar": lambda public: append_bytes(public, f"{SHARD}.tar", bytes(512)),
    "comment of the film": lambda public: change_film(public, with_comment),
    "behind the film": lambda public: change_film(public, lambda data: data + TEXT.encode()),
    "other encoding of the film": lambda public: change_film(public, encoded_otherwise),
    "field of the sidecar": lambda public: change_sidecar(public, patient_name="E"),
    "field of the display": lambda public: change_sidecar(public, display_name="E"),
    "body part": lambda public: change_sidecar(public, body_part="Hand of Erika"),
    "model": lambda public: change_sidecar(public, model="Müller^Erika"),
    "key of the patient": lambda public: change_sidecar(public, patient=TEXT),
    "age": lambda public: change_sidecar(public, age_years=-1),
    "day": lambda public: change_sidecar(public, study_day=20_200_131),
    "window": lambda public: change_sidecar(public, display_windows=[[1e300, 1.0]]),
    "table": lambda public: change_sidecar(public, display_table="TVJOLTA0MTctMw=="),
    "mask": lambda public: change_sidecar(public, content_mask="TVJOLTA0MTctMw=="),
    "formatting of the sidecar": lambda public: change_tar(
        public, lambda member, data: (member, data + b" " if member.name.endswith("json") else data)
    ),
    "metadata of the index": lambda public: rewrite_table(
        public, "index.parquet", lambda table: table.replace_schema_metadata({"by": TEXT}), store_schema=True
    ),
    "column of the index": lambda public: rewrite_table(
        public, "index.parquet", lambda table: table.append_column("name", pa.array([TEXT] * table.num_rows))
    ),
    "value in the index": lambda public: rewrite_table(
        public, "index.parquet",
        lambda table: table.set_column(table.schema.get_field_index("view"), "view", pa.array([TEXT] * table.num_rows)),
    ),
    "compression of the index": lambda public: rewrite_table(
        public, "index.parquet", lambda table: table, compression="gzip"
    ),
    "another shard's table": lambda public: (public / f"{SHARD}.parquet").write_bytes(
        (public / "val-000000.parquet").read_bytes()
    ),
    "reason": lambda public: rewrite_table(
        public, "rejects.parquet",
        lambda table: table.set_column(1, "reason", pa.array([TEXT] * table.num_rows)),
    ),
    "between the pages": lambda public: between_pages(public / "rejects.parquet"),
    "config": lambda public: change_json(public, "dataset.json", lambda card: card["config"].update(max_side=TEXT)),
    "setting": lambda public: change_json(public, "dataset.json", lambda card: card["config"].update(by=TEXT)),
    "code": lambda public: change_json(
        public, "dataset.json", lambda card: card["deidentification"].update(by=TEXT)
    ),
    "fingerprint": lambda public: change_json(
        public, "dataset.json", lambda card: card.update(key_fingerprint=TEXT)
    ),
    "formatting of the card": lambda public: append_bytes(public, "dataset.json", b"\n"),
    "card of the shard": lambda public: change_json(
        public, f"{SHARD}.json", lambda card: card.update(rejects=[[1, TEXT]])
    ),
    "labels": lambda public: pq.write_table(pa.table({"key": [TEXT]}), public / "labels.parquet"),
}  # fmt: skip


def between_pages(path: Path) -> None:
    """Insert text behind the last page, before the footer, which lists the offsets of the pages."""
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[:-footer] + TEXT.encode() + data[-footer:])


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_bytes_beyond_the_allow_list_are_found_without_the_private_folder(place: str, public: Path) -> None:
    assert audit(public).problems == []
    HIDING_PLACES[place](public)
    report = audit(public)
    assert report.problems
    assert "NOT SAFE TO SHARE" in str(report)
    assert TEXT not in str(report)
    assert main(["audit", str(public)]) == 1


def test_an_original_identifier_is_no_model_of_a_device(made: Path, public: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    place = index.schema.get_field_index("model")
    with_name = index.set_column(place, index.schema.field("model"), pa.array([TEXT] * index.num_rows))
    from data_prep.shard_format.parquet_bytes import encode_parquet

    (public / "index.parquet").write_bytes(encode_parquet(with_name))
    assert audit(public).problems == ["index.parquet: model holds a value that is not on the allow-list"]


def test_a_private_folder_of_another_secret_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").symlink_to(made / "archive")
    other = make_private(tmp_path, monkeypatch, secret="another secret, long enough")
    with pytest.raises(ArchiveError, match="another secret"):
        audit(made / "public", privates=[other])


def test_every_field_of_the_sidecar_has_a_rule() -> None:
    assert set(SIDECAR_RULES) == set(Sidecar.model_fields)


def test_long_texts_are_found_in_bytes_in_any_case_and_short_ones_as_words_only() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    texts = ["1.2.276.0.7230010.3", "MUSTERMANN_ERIKA", "Müller-Lüdenscheid", "0815Z", "abc"]
    search = TextSearch.of([*texts, *(f"1.3.12.{number}.99" for number in range(5000))])
    assert search.in_bytes(noise) == 0
    for place in range(8):
        for text in (b"1.2.276.0.7230010.3", b"mustermann_erika", "MÜLLER-LÜDENSCHEID".encode("latin-1")):
            assert search.in_bytes(noise[: 1000 + place] + text + noise[1000:]) == 1
    assert search.in_bytes(b"x0815Zx" * 3) == 0
    assert (search.in_text("a 0815z b"), search.in_text("a0815zb"), search.in_text("abc")) == (1, 0, 0)


def test_parts_of_paths_are_searched_for_except_public_terms() -> None:
    row = {
        "row": 0,
        "path": "/data/MUSTER_ERIKA_19530714/Chest/IM000017.dcm",
        "patient_id": "0000000",
        "accession": "A1",
    }
    texts = remove_public_terms(collect_identifiers(pa.Table.from_pylist([row], LINKAGE_SCHEMA)))
    assert {"MUSTER_ERIKA_19530714", "MUSTER", "ERIKA", "19530714", "IM000017", "IM000017.dcm"} <= texts
    assert not texts & {"Chest", "0000000", "A1", "data"}


def test_encoding_the_decoded_pixels_gives_the_same_bytes() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    assert encode_film(decode_film(encode_film(values), bits=12)) == encode_film(values)


def test_borders_draws_one_sheet_per_device(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "borders"
    assert main(["borders", str(made / "public"), "--out", str(out), "--films", "5"]) == 0
    (sheet,) = out.glob("*.png")
    lines = [line.split(",") for line in (out / "films.csv").read_text().splitlines()[1:]]
    assert [line[:2] for line in lines] == [[sheet.name, str(number)] for number in range(1, 6)]
    assert {line[2] for line in lines} <= set(pq.read_table(made / "public" / "index.parquet")["key"].to_pylist())
    with Image.open(sheet) as picture:
        assert picture.size[0] > 1000
    assert main(["borders", str(made / "public"), "--out", str(out)]) == 2
