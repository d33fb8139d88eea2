"""Shards of every codec: read back, verified, audited, trained from; and films that hold more than an image."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.cli import main
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.film_codec import Codec, codec_of, decode_film, encode_film
from data_prep.shard_format.folder_layout import FILM_SUFFIXES
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.film_bytes import stream_problems
from data_prep.verification.verify import verify
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import ShardIndex
from tests.builders.private_builder import anatomy, make_private, settings

CODECS = get_args(Codec)
SIDE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codecs")
    with pytest.MonkeyPatch.context() as patch:
        private = make_private(folder, patch)
    for codec in CODECS:
        shard(private, folder / codec, settings(codec=codec))
    return folder


@pytest.mark.parametrize("codec", CODECS)
def test_shards_of_every_codec_are_sound(made: Path, codec: Codec) -> None:
    assert verify(made / codec) == []
    assert audit(made / codec, privates=[made / "private"]).problems == []
    index = ShardIndex([made / codec], split=None)
    for row in range(len(index)):
        film = index.film(row)
        assert codec_of(film.stream) == codec
        layout = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, 16, 8)
        assert film.values(layout, 8).shape == (layout.grid[0] * 8, layout.grid[1] * 8)


def test_png_holds_the_values_of_htj2k(made: Path) -> None:
    lossless, png = (ShardIndex([made / name], split=None) for name in ("htj2k", "png"))
    for row in range(len(lossless)):
        one, other = lossless.film(row), png.film(row)
        assert one.sidecar == other.sidecar
        bits = one.sidecar.display.bits
        assert np.array_equal(decode_film(one.stream, bits=bits), decode_film(other.stream, bits=bits))


def test_jpeg_holds_what_is_displayed(made: Path) -> None:
    lossless, jpeg = (ShardIndex([made / name], split=None) for name in ("htj2k", "jpeg"))
    for row in range(len(lossless)):
        one, other = lossless.film(row), jpeg.film(row)
        shown = apply_display(decode_film(one.stream, bits=one.sidecar.display.bits), one.sidecar.display)
        again = apply_display(decode_film(other.stream, bits=8), other.sidecar.display)
        assert np.abs(shown / 257 - again / 257.0).mean() < 2.5  # of 255: the texture of these films is noise
        assert other.sidecar.display.provenance[-1] == "display_applied"
        assert one.sidecar.content_mask == other.sidecar.content_mask


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_common_decoders_read_the_members(made: Path, codec: Codec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports warn
        import webdataset

        tars = sorted(str(path) for path in (made / codec).glob("*.tar"))
        samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len(samples) == 14
    for sample in samples:
        film = cv2.imdecode(np.frombuffer(sample[FILM_SUFFIXES[codec]], np.uint8), cv2.IMREAD_UNCHANGED)
        assert film.dtype == (np.uint16 if codec == "png" else np.uint8) and max(film.shape) == SIDE


def test_another_codec_needs_another_folder(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["films_per_shard=3", "max_side=64", "splits.val=0.25", "splits.test=0.25", "codec=png"]
    assert main.main(["shard", str(made / "private"), "--out", str(made / "htj2k"), *words]) == 2
    assert 'codec: "htj2k" in the folder, "png" given' in capsys.readouterr().err


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("reduction", [0, 1, 2, 3, 4])
def test_reduced_films_keep_size_and_brightness(codec: Codec, reduction: int) -> None:
    values = cv2.GaussianBlur(anatomy("reduced", 803, 650, bits=8), (0, 0), 40)
    part = decode_film(encode_film(values, codec), bits=8, reduction=reduction)
    assert part.shape == tuple(-(-side // 2**reduction) for side in values.shape) and part.dtype == np.uint16
    whole = cv2.resize(values, part.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(part.astype(float) - whole).mean() < 4


def test_jpeg_refuses_more_than_8_bits() -> None:
    with pytest.raises(ValueError, match="at most 8 significant bits as jpeg"):
        encode_film(np.full((16, 16), 256, np.uint16), "jpeg")


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_text(stream: bytes) -> bytes:
    return stream[:33] + png_chunk(b"tEXt", b"Patient\0MUSTER") + stream[33:]


def with_more_pixels(stream: bytes) -> bytes:
    length = struct.unpack_from(">I", stream, 33)[0]
    data = zlib.compress(zlib.decompress(stream[41 : 41 + length]) + b"MUSTER^MARIA")
    return stream[:33] + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def behind_deflate(stream: bytes) -> bytes:
    length = struct.unpack_from(">I", stream, 33)[0]
    return stream[:33] + png_chunk(b"IDAT", stream[41 : 41 + length] + b"MUSTER") + png_chunk(b"IEND", b"")


def with_comment(stream: bytes) -> bytes:
    return stream[:2] + b"\xff\xfe\x00\x08MUSTER" + stream[2:]


def with_exif(stream: bytes) -> bytes:
    return stream[:2] + b"\xff\xe1\x00\x0cExif\0\0MUST" + stream[2:]


def with_thumbnail(stream: bytes) -> bytes:
    return stream.replace(
        b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x01\x01"
    )


def with_table(stream: bytes) -> bytes:
    """A quantization table that nothing uses."""
    scan = stream.index(b"\xff\xda")
    return stream[:scan] + b"\xff\xdb\x00\x43\x01" + b"MUSTER^MARIA".ljust(64) + stream[scan:]


def behind(stream: bytes) -> bytes:
    return stream + b"MUSTER^MARIA"


def cut(stream: bytes) -> bytes:
    return stream[: len(stream) // 3]


@pytest.mark.parametrize(
    ("codec", "change", "message"),
    [
        ("png", with_text, "other chunks"),
        ("png", with_more_pixels, "not those of its size"),
        ("png", behind_deflate, "not those of its size"),
        ("png", behind, "behind the end"),
        ("png", cut, "cut off"),
        ("jpeg", with_comment, "headers are not the encoder's"),
        ("jpeg", with_exif, "headers are not the encoder's"),
        ("jpeg", with_thumbnail, "headers are not the encoder's"),
        ("jpeg", with_table, "headers are not the encoder's"),
        ("jpeg", behind, "behind the end"),
        ("jpeg", cut, "further markers"),
        ("htj2k", behind, "behind the end"),
    ],
)  # fmt: skip
def test_a_film_holds_one_image_and_nothing_else(codec: Codec, change: Callable[[bytes], bytes], message: str) -> None:
    stream = encode_film(anatomy("plain", 60, 50, bits=8), codec)
    assert list(stream_problems(stream)) == []
    changed = change(stream)
    assert changed != stream
    assert any(message in problem for problem in stream_problems(changed))


def test_bench_shows_every_variant(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["bench-codecs", str(made / "private"), "--films", "3", "max_side=64"]) == 0
    table = capsys.readouterr().out
    assert "3 films of 0.0 megapixels" in table
    lossless = [line for line in table.splitlines() if line.rstrip().endswith("none")]
    assert [line.split(",")[0] for line in lossless] == ["HTJ2K", "PNG", "PNG"]
    assert all(f" {codec} " in table for codec in CODECS)


def test_bench_reports_an_unreadable_archive(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (made / "archive").rename(made / "elsewhere")
    try:
        assert main.main(["bench-codecs", str(made / "private")]) == 2
    finally:
        (made / "elsewhere").rename(made / "archive")
    assert "Mount the archive" in capsys.readouterr().err


def test_index_is_the_same_for_lossless_codecs(made: Path) -> None:
    names = [name for name in pq.read_table(made / "png" / "index.parquet").column_names if "_offset" not in name]
    names = [name for name in names if name != "film_size"]
    tables = [pq.read_table(made / name / "index.parquet", columns=names) for name in ("htj2k", "png")]
    assert tables[0].equals(tables[1])
