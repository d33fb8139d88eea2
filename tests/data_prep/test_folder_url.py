"""URLs of public folders: what is read, what is refused, and what of them may be shown."""

from pathlib import Path

import pytest
from pydantic import Field

from data_prep.errors import SettingsError, StorageError
from data_prep.folder_url import FolderUrl, folder_name, is_url, local_path, public_folder, shown
from data_prep.object_storage.storage import read_file
from data_prep.settings import Folders, Settings, load


class _Paths(Settings):
    shards: Folders = Field(default=[])
    out: Path | None = None
    files: list[Path] = Field(default=[])


def test_a_url_keeps_both_slashes_and_a_path_stays_a_path() -> None:
    url = public_folder("s3://bucket/a/b/")
    assert isinstance(url, FolderUrl)
    assert (str(url), url.scheme, url.name) == ("s3://bucket/a/b", "s3", "b")
    assert public_folder("/data/shards") == Path("/data/shards")
    assert public_folder(url) is url
    assert folder_name(url.generation("generation-001")) == "generation-001"
    assert url.generation("generation-001").relative("x.tar") == "generation-001/x.tar"


@pytest.mark.parametrize(
    "text", ["s3://key:secret@bucket/x", "https://user@host/x", "ftp://host/x", "s3://", "s3:///x"]
)
def test_a_url_with_a_password_or_of_an_unknown_kind_is_refused_and_the_password_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        public_folder(text)
    assert "secret" not in str(error.value)
    assert "user@" not in str(error.value)


def test_a_signature_is_used_but_not_shown() -> None:
    url = public_folder("https://host/shards?sig=hush")
    assert isinstance(url, FolderUrl)
    assert url.query == "sig=hush"
    assert "hush" not in f"{url} {url!r} {url.generation('generation-001')}"
    settings = _Paths(shards=["https://host/shards?sig=hush"])
    assert "hush" not in settings.model_dump_json()
    recorded = public_folder(str(url))
    assert isinstance(recorded, FolderUrl)
    assert not recorded.is_complete
    with pytest.raises(StorageError, match=r"signature of https://host/shards.… is not recorded\. Give"):
        read_file(recorded, "x", 9)


def test_settings_take_urls_of_public_folders_only(tmp_path: Path) -> None:
    settings = load(_Paths, None, ["shards=[s3://bucket/x, /data/y]", f"out={tmp_path}"])
    assert settings.shards == [FolderUrl.parse("s3://bucket/x"), Path("/data/y")]
    assert load(_Paths, None, ["shards=gs://bucket/x"]).shards == [FolderUrl.parse("gs://bucket/x")]
    assert settings.model_dump(mode="json")["shards"] == ["s3://bucket/x", "/data/y"]
    for override in ("out=s3://bucket/x", "files=[/a, gs://bucket/x]"):
        with pytest.raises(SettingsError, match=r"(s3|gs)://bucket/x is a URL"):
            load(_Paths, None, [override])


def test_what_is_shown_of_a_text_has_no_secret() -> None:
    text = shown("{'shards': ['https://me:pw@host/x?sig=hush&b=1', 's3:/k:s@b/y'], 'n': '1?2'}")
    assert text == "{'shards': ['https://…@host/x?…', 's3://…@b/y'], 'n': '1?2'}"


def test_a_local_path_is_no_url() -> None:
    assert is_url("s3://b/x")
    assert is_url(Path("gs://b/x"))
    assert not any(map(is_url, ("/data", "data/x", "a:b", "C:/x", "x=s3://b")))
    assert local_path("data/x") == Path("data/x")
    with pytest.raises(SettingsError, match="s3://b/x is a URL"):
        local_path(Path("s3://b/x"))
