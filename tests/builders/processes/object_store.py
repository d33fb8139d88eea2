"""Object storage on this machine: an S3 server, a web server that serves ranges, and a link that can be cut."""

import contextlib
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

BUCKET = "films"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def complete(public: Path) -> Path:
    """Give a folder of ``shard_builder`` the files that it lacks, which trainings do not read, to be published."""
    for tar in public.glob("*.tar"):
        for suffix in (".json", ".parquet"):
            tar.with_suffix(suffix).write_text("not read by trainings")
    (public / "rejects.parquet").write_text("not read by trainings")
    return public


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def s3_server() -> Iterator[int]:
    """The port of moto's S3 server with an empty bucket BUCKET; skips where it is not installed."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        import boto3

        endpoint = f"http://127.0.0.1:{port}"
        boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="testing", aws_secret_access_key="x", region_name="us-east-1"
        ).create_bucket(Bucket=BUCKET)
        yield port
    finally:
        server.kill()
        server.wait()
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # it has the address of this server


def storage_environment(port: int, cache: Path) -> dict[str, str]:
    """What the libraries of S3 read, and an own cache."""
    return CREDENTIALS | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "MAE_RAD_CACHE": str(cache),
        "MAE_RAD_STORAGE_SECONDS": "60",
    }


@contextlib.contextmanager
def web_server(folder: Path, *, ranges: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Address of a web server of a folder, and the paths that were asked for, with their queries."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, asked, ranges, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, and parts of them."""

    def __init__(self, asked: list[str], ranges: bool, *args, **options) -> None:
        self._asked, self._ranges = asked, ranges
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(urlsplit(self.path).path))
        if not (wanted and self._ranges and path.is_file()):
            super().do_GET()
            return
        start, last = int(wanted[1]), min(int(wanted[2]), path.stat().st_size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{last}/{path.stat().st_size}")
        self.send_header("Content-Length", str(last - start + 1))
        self.end_headers()
        self.wfile.write(path.read_bytes()[start : last + 1])

    def log_message(self, *_: object) -> None:
        return


class Link:
    """A TCP proxy to a port; ``cut`` ends its connections and refuses others until ``mend``."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = free_port()
        self._stop: threading.Event
        self._thread: threading.Thread
        self.mend()

    def mend(self) -> None:
        self._stop = threading.Event()
        listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._forward, args=(listener, self._stop), daemon=True)
        self._thread.start()

    def cut(self) -> None:
        self._stop.set()
        self._thread.join()

    def _forward(self, listener: socket.socket, stop: threading.Event) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not stop.is_set():
                for key, _ in selector.select(0.05):
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is listener:
                        near, _ = listener.accept()
                        far = socket.create_connection(("127.0.0.1", self._target))
                        peers |= {near: far, far: near}
                        selector.register(near, selectors.EVENT_READ)
                        selector.register(far, selectors.EVENT_READ)
                        continue
                    if one not in peers:
                        continue
                    try:
                        data = one.recv(65536)
                        peers[one].sendall(data)
                    except OSError:
                        data = b""
                    if not data:
                        other = peers.pop(one)
                        peers.pop(other)
                        for end in (one, other):
                            selector.unregister(end)
                            end.close()
        for end in (*peers, listener):
            end.close()


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no server on port {port} (process {os.getpid()})")
