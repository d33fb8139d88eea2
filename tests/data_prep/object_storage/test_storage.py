"""Requests are repeated while a storage cannot be reached, and only then; a failure is one line without secrets."""

import contextlib
import tracemalloc
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from data_prep.errors import StorageError
from data_prep.folder_url import FolderUrl
from data_prep.object_storage import storage
from data_prep.object_storage.storage import PATIENCE, ByteRange, persist, read_file, read_ranges, write_file
from tests.builders.processes.object_store import web_server

URL = FolderUrl.parse("https://host/shards?sig=hush")


class _Clock:
    """Time that passes only while one sleeps."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(storage, "time", clock)
    return clock


class _Failing:
    """Fails a number of times with an error, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left = error, times

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def test_a_request_is_repeated_with_growing_waits(clock: _Clock, caplog: pytest.LogCaptureFixture) -> None:
    assert persist(_Failing(ConnectionError("https://host?sig=hush"), 6), URL) == "answer"
    assert len(clock.waits) == 6
    assert all(0.125 * 2**n <= wait <= 0.25 * 2**n for n, wait in enumerate(clock.waits))
    assert len(caplog.records) == 1
    assert "https://host/shards?… cannot be reached (ConnectionError)" in caplog.text
    assert "hush" not in caplog.text


def test_after_its_patience_a_request_ends_in_one_line(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "20")
    with pytest.raises(StorageError, match=r"https://host/shards\?… cannot be reached for 1\d s \(OSError\)") as error:
        persist(_Failing(OSError("?sig=hush"), 10**6), URL)
    assert "hush" not in str(error.value)
    assert error.value.__cause__ is None
    assert clock.now <= 20


class NoCredentialsError(Exception):
    """Bears the name of botocore's."""


class _StatusError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize("error", [PermissionError(), NoCredentialsError(), ValueError(), _StatusError(403)])
def test_a_refusal_is_not_repeated(error: Exception, clock: _Clock) -> None:
    with pytest.raises(StorageError, match="refuses the request"):
        persist(_Failing(error, 1), URL)
    assert not clock.waits
    assert persist(_Failing(_StatusError(503), 1), URL) == "answer"


def test_a_missing_library_is_named(clock: _Clock) -> None:
    with pytest.raises(StorageError, match=r"https:// needs the cloud extra: pip install 'mae_rad\[cloud\]'"):
        persist(_Failing(ImportError("Install s3fs"), 1), URL)


def test_ranges_are_read_again_only_where_they_failed(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    class _System:
        def cat_ranges(self, paths: list[str], starts: list[int], ends: list[int], on_error: str) -> list[object]:
            assert on_error == "return"
            asked.append(starts)
            good = {0: b"aa", 10: b"bb" if len(asked) > 1 else OSError(), 20: b"cc" if len(asked) > 2 else b"c"}
            return [good[start] for start in starts]

    monkeypatch.setattr(storage, "_file_system", lambda folder: _System())
    parts = [ByteRange("x", start, 2) for start in (20, 0, 10, 0)]
    assert read_ranges(URL, parts) == [b"cc", b"aa", b"bb", b"aa"]
    assert asked == [[20, 0, 10], [20, 10], [20]]


def test_a_folder_is_written_and_read(tmp_path: Path) -> None:
    url = FolderUrl.parse(f"file://{tmp_path}/there")
    (tmp_path / "here").write_bytes(b"0123456789")
    write_file(url, "a/b.tar", tmp_path / "here")
    write_file(url, "c.json", b"{}")
    assert (tmp_path / "there" / "a" / "b.tar").read_bytes() == b"0123456789"
    assert read_file(url, "c.json", 9) == b"{}"
    assert read_ranges(url, [ByteRange("a/b.tar", 3, 4), ByteRange("a/b.tar", 8, 2)]) == [b"3456", b"89"]
    with pytest.raises(FileNotFoundError):
        read_file(url, "absent", 9)
    with pytest.raises(StorageError, match="lacks a file that it lists"):
        read_ranges(url, [ByteRange("absent", 0, 1)])


def test_a_web_server_gets_the_signature_with_every_request(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "x.tar").write_bytes(bytes(range(100)))
    with web_server(tmp_path) as (address, asked):
        url = FolderUrl.parse(f"{address}?sig=hush")
        assert read_ranges(url, [ByteRange("x.tar", 10, 5)]) == [bytes(range(10, 15))]
        assert read_file(url, "x.tar", 100) == bytes(range(100))
        with pytest.raises(FileNotFoundError):
            read_file(url, "absent", 9)
    assert asked == ["/x.tar?sig=hush"] * 2 + ["/absent?sig=hush"]


def test_a_web_server_without_ranges_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "x.tar").write_bytes(bytes(100))
    with web_server(tmp_path, ranges=False) as (address, _), pytest.raises(StorageError, match="sends whole files"):
        read_ranges(FolderUrl.parse(address), [ByteRange("x.tar", 10, 5)])


class _Endless(BaseHTTPRequestHandler):
    """Sends bytes for ever, also where a part is asked for, or packed."""

    packed = zlib.compress(bytes(2**24), wbits=31)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        is_packed = "packed" in self.path
        self.send_response(206 if self.headers.get("Range") else 200)
        if is_packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1 if is_packed else 2**12):
                self.wfile.write(self.packed if is_packed else bytes(2**16))

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", ["endless", "packed"])
def test_no_more_is_read_than_was_asked_for(name: str) -> None:
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    Thread(target=server.serve_forever, daemon=True).start()
    url = FolderUrl.parse(f"http://127.0.0.1:{server.server_port}/folder")
    try:
        tracemalloc.start()
        with pytest.raises(StorageError, match=f"more for {name}"):
            read_file(url, name, 1000)
        with pytest.raises(StorageError, match="sends whole files"):
            read_ranges(url, [ByteRange(name, 0, 1000)])
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
        server.shutdown()
        server.server_close()
