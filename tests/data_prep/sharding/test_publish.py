"""Publishing copies what belongs to a finished folder and nothing else, and readers find the same films there."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_prep.cli.main import main
from data_prep.dataset_report.report_page import write_report
from data_prep.errors import ShardFormatError, StorageError
from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.object_storage import published_files, storage
from data_prep.object_storage.published_files import PUBLISHED_FILE, local_file
from data_prep.object_storage.range_cache import CACHE
from data_prep.pages.film_thumbnail import read_displayed_film
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_tables import read_labels
from data_prep.sharding import publish as publish_module
from data_prep.sharding.append import append
from data_prep.sharding.publish import UNFINISHED_LIST, publish
from data_prep.sharding.shard import shard
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, write_film
from tests.builders.private_builder import anatomy, make_private, settings
from tests.builders.processes.object_store import BUCKET, s3_server, storage_environment


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    published_files.published_files.cache_clear()
    yield
    published_files.published_files.cache_clear()


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shard(make_private(tmp_path, monkeypatch), tmp_path / "public", settings())
    return tmp_path / "public"


def _url(folder: Path) -> FolderUrl:
    return FolderUrl.parse(f"file://{folder}")


def _append(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(
        public.parent / "archive" / "new.dcm", values=anatomy("new"), patient_id="MRN-0417-77", study="study 77",
        sop_class=DX_FOR_PRESENTATION,
    )  # fmt: skip
    append(make_private(public.parent, monkeypatch), public, settings())


def _same_for_readers(public: Path, there: FolderUrl) -> None:
    assert [read_dataset_card(folder) for folder in generation_folders(there)] == [
        read_dataset_card(folder) for folder in generation_folders(public)
    ]
    index = read_index(there)
    assert index.equals(read_index(public))
    for row in index.to_pylist():
        (values, sidecar), (expected, _) = (read_displayed_film(folder, row) for folder in (there, public))
        assert sidecar.key == row["key"]
        assert np.array_equal(values, expected)


def test_a_published_folder_reads_as_the_local_one(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _append(public, monkeypatch)
    summary = publish(public, _url(tmp_path / "there"))
    assert summary.copied == summary.files
    assert {path.relative_to(public) for path in public.rglob("*") if path.is_file()} == {
        path.relative_to(tmp_path / "there") for path in (tmp_path / "there").rglob("*") if path.is_file()
    } - {Path(PUBLISHED_FILE)}
    _same_for_readers(public, _url(tmp_path / "there"))
    pages = []
    for path in public.rglob("*.json"):  # the speed of sharding is read from these times
        os.utime(path, (0, 0))
    for number, folder in enumerate[PublicFolder]((public, _url(tmp_path / "there"))):
        write_report(folder, tmp_path / f"{number}.html")
        pages.append((tmp_path / f"{number}.html").read_bytes())
    assert pages[0] == pages[1]


def test_a_bucket_reads_as_the_local_folder(public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as port:
        for name, value in storage_environment(port, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        url = FolderUrl.parse(f"s3://{BUCKET}/archive")
        assert publish(public, url).copied == len(list(public.iterdir()))
        _same_for_readers(public, url)
        with pytest.raises(ShardFormatError, match=f"holds no {PUBLISHED_FILE}"):
            read_dataset_card(FolderUrl.parse(f"s3://{BUCKET}/other"))


def test_later_generations_and_new_labels_are_added(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _url(tmp_path / "there")
    publish(public, url)
    assert publish(public, url).copied == 0
    _append(public, monkeypatch)
    assert publish(public, url).copied == len(list((public / "generation-001").iterdir()))
    published_files.published_files.cache_clear()
    _same_for_readers(public, url)
    assert read_labels(url).num_rows == 0


def test_files_that_do_not_belong_are_left_out(public: Path, tmp_path: Path) -> None:
    (public / "MARNOSCH_A.csv").write_text("a name")
    (public / "index.parquet.bak").write_text("")
    summary = publish(public, _url(tmp_path / "there"))
    assert "2 files that do not belong to a public folder were left out" in str(summary)
    assert not [path for path in (tmp_path / "there").iterdir() if path.suffix in {".csv", ".bak"}]


def test_a_damaged_or_missing_file_is_not_published(public: Path, tmp_path: Path) -> None:
    tar = min(public.glob("*.tar"))
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ShardFormatError, match=f"{tar.name} is damaged; it is not copied"):
        publish(public, _url(tmp_path / "there"))
    tar.write_bytes(whole)
    tar.with_suffix(".json").unlink()
    with pytest.raises(ShardFormatError, match=r"\.json is missing"):
        publish(public, _url(tmp_path / "there"))
    with pytest.raises(ShardFormatError, match=f"holds no {PUBLISHED_FILE}"):
        read_dataset_card(_url(tmp_path / "there"))
    (public / "dataset.json").unlink()
    with pytest.raises(ShardFormatError, match=r"holds no dataset\.json"):
        publish(public, _url(tmp_path / "there"))


def test_an_interrupted_command_goes_on_where_it_was(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, written = _url(tmp_path / "there"), []

    def stopping(folder: FolderUrl, name: str, source: Path | bytes) -> None:
        if len(written) == 5:
            raise StorageError("the link is cut")
        if isinstance(source, Path):
            written.append(name)
        storage.write_file(folder, name, source)

    monkeypatch.setattr(publish_module, "write_file", stopping)
    with pytest.raises(StorageError, match="the link is cut"):
        publish(public, url)
    assert (tmp_path / "there" / UNFINISHED_LIST).exists()
    monkeypatch.setattr(publish_module, "write_file", storage.write_file)
    done = sum(name.endswith(".tar") for name in written)
    assert done
    summary = publish(public, url)
    assert summary.files - summary.copied >= done
    assert not (tmp_path / "there" / UNFINISHED_LIST).exists()
    _same_for_readers(public, url)


def test_another_data_set_is_not_written_over(public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(public, _url(tmp_path / "there"))
    shard(tmp_path / "private", tmp_path / "other", settings(films_per_shard=4))
    before = {path: path.read_bytes() for path in (tmp_path / "there").rglob("*") if path.is_file()}
    with pytest.raises(ShardFormatError, match="holds another data set"):
        publish(tmp_path / "other", _url(tmp_path / "there"))
    assert before == {path: path.read_bytes() for path in (tmp_path / "there").rglob("*") if path.is_file()}


def test_what_was_published_is_verified(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _append(public, monkeypatch)
    url = str(_url(tmp_path / "there"))
    assert main(["publish", str(public), url]) == 0
    assert main(["verify", url]) == 0
    assert "complete, and the bytes that were published" in capsys.readouterr().out
    tar = max((tmp_path / "there" / "generation-001").glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert main(["verify", url]) == 1
    assert capsys.readouterr().out.startswith(f"generation-001/{tar.name}: not the bytes")


@pytest.mark.parametrize("url", ["https://host/shards", "s3://bucket/x?sig=hush"])
def test_what_cannot_be_written_is_refused(url: str, public: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be written\. Publish to one of s3://, gs://, file://"):
        publish(public, FolderUrl.parse(url))


def test_a_file_that_was_published_anew_meanwhile_is_noticed(public: Path, tmp_path: Path) -> None:
    url = _url(tmp_path / "there")
    publish(public, url)
    listed = json.loads((tmp_path / "there" / PUBLISHED_FILE).read_text())
    assert set(listed["files"]) == {path.name for path in public.iterdir()}
    read_dataset_card(url)
    (tmp_path / "there" / "index.parquet").write_bytes(b"newer")
    with pytest.raises(StorageError, match=r"index\.parquet of file://.* was published anew meanwhile"):
        local_file(url, "index.parquet")
