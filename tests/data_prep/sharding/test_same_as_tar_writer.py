"""Shards are the bytes that webdataset's own TarWriter writes for the same samples."""

import io
import tarfile
from pathlib import Path

import pytest

from data_prep.sharding.shard import shard
from tests.builders.private_builder import make_private, settings

webdataset = pytest.importorskip("webdataset")


def _members(tar: Path) -> list[tuple[str, str, bytes]]:
    """Key, suffix and content of each member."""
    with tarfile.open(tar) as archive:
        names = (member.name.partition(".") for member in archive.getmembers())
        return [(key, suffix, archive.extractfile(f"{key}.{suffix}").read()) for key, _, suffix in names]


def _written_by_webdataset(samples: list[dict[str, object]]) -> bytes:
    stream = io.BytesIO()
    with webdataset.TarWriter(stream, encoder=False, user="", group="", mode=0o644, mtime=0) as writer:
        for sample in samples:
            writer.write(sample)
    return stream.getvalue()


@pytest.mark.parametrize(("codec", "suffix"), [("htj2k", "j2c"), ("png", "png")])
def test_a_shard_is_what_tar_writer_writes(
    codec: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TarWriter sorts the members of a sample by suffix; a film comes first, so PNG films are written one by one."""
    shard(make_private(tmp_path, monkeypatch), tmp_path / "public", settings(codec=codec))
    tars = sorted((tmp_path / "public").glob("*.tar"))
    assert sum(len(_members(tar)) > 1 for tar in tars) > 3
    for tar in tars:
        members = _members(tar)
        assert {name for _, name, _ in members} in ({suffix, "json"}, set())  # a shard whose films were all rejected
        if codec == "htj2k":
            films, sidecars = members[::2], members[1::2]
            samples = [
                {"__key__": key, suffix: film, "json": sidecar}
                for (key, _, film), (_, _, sidecar) in zip(films, sidecars, strict=True)
            ]
        else:
            samples = [{"__key__": key, name: content} for key, name, content in members]
        assert tar.read_bytes() == _written_by_webdataset(samples)
