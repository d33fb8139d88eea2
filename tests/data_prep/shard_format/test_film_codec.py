"""The codec of films: lossless over its whole range, readable by other decoders, reduced without wrapping."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.shard_format.film_codec import MAX_BITS, Codec, decode_film, encode_film, reduction_for, stream_shape


def collimated(bits: int, rows: int = 301, columns: int = 257) -> NDArray[np.uint16]:
    """Bright noise with a black, sharp collimation edge: where a wavelet undershoots zero and overshoots the range."""
    film = np.zeros((rows, columns), dtype=np.uint16)
    generator = np.random.default_rng(bits)
    film[40:-33, 51:-29] = generator.integers(2**bits * 7 // 8, 2**bits, film[40:-33, 51:-29].shape)
    return film


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 15])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (16, 16), (301, 257)])
def test_films_come_back_bit_for_bit(bits: int, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, shape).astype(np.uint16)
    assert np.array_equal(decode_film(encode_film(values), bits=bits), values)


def test_error_in_the_middle_of_a_stream_is_not_swallowed() -> None:
    stream = encode_film(collimated(12))
    raised = 0
    for place in range(len(stream) // 2, len(stream) - 2, len(stream) // 60):
        damaged = bytearray(stream)
        damaged[place : place + 4] = b"\xff\xff\xff\xff"
        try:
            decode_film(bytes(damaged), bits=12)
        except ValueError as error:
            raised += "damaged HTJ2K stream" in str(error)
    assert raised > 3
    assert np.array_equal(decode_film(stream, bits=12), collimated(12))


def test_stream_is_readable_by_another_decoder() -> None:
    values = collimated(12)
    assert np.array_equal(imagecodecs.jpeg2k_decode(encode_film(values)), values)  # OpenJPEG


@pytest.mark.parametrize("bits", [8, 12, 14, MAX_BITS])
@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_reduced_film_is_what_openjpeg_reduces_to_clipped_to_the_range(bits: int, reduction: int) -> None:
    stream = encode_film(collimated(bits, 320, 256))
    with Image.open(io.BytesIO(stream)) as image:  # Pillow reads by OpenJPEG, which clips at zero and keeps overshoots
        image.reduce = reduction
        theirs = np.asarray(image)
    assert int(theirs.max()) >= 2**bits, "no overshoot: this film tests nothing"
    ours = decode_film(stream, bits=bits, reduction=reduction)
    assert np.array_equal(ours, np.minimum(theirs, 2**bits - 1))


@pytest.mark.parametrize("reduction", [1, 2, 3, 5])
def test_reduced_sizes_are_rounded_up(reduction: int) -> None:
    step = 2**reduction
    reduced = decode_film(encode_film(collimated(12)), bits=12, reduction=reduction)
    assert reduced.shape == (-(-301 // step), -(-257 // step))


def test_decoding_without_correction_wraps_around() -> None:
    plain = imagecodecs.htj2k_decode(encode_film(collimated(12)), skipres=1)
    assert int(plain.max()) > 2**15, "if this decoder has stopped wrapping, decode_film may become simpler"


def test_what_is_no_film_is_refused() -> None:
    wide = np.full((4, 4), 2**15, np.uint16)
    for values in (np.zeros((4, 4), np.int16), np.zeros((4, 4, 1), np.uint16), np.zeros((0, 4), np.uint16), wide):
        with pytest.raises(ValueError):
            encode_film(values)


def test_reduction_is_the_smallest_image_that_covers_the_target() -> None:
    assert reduction_for(1536, 1024, 1536, 1024) == 0
    assert reduction_for(1536, 1024, 768, 512) == 1
    assert reduction_for(1536, 1024, 769, 512) == 0
    assert reduction_for(1537, 1024, 769, 512) == 1  # reduced sizes are rounded up
    assert reduction_for(1536, 1024, 20, 1000) == 0  # both directions count
    assert reduction_for(100_000, 100_000, 1, 1) == 5


@pytest.mark.parametrize("codec", ["htj2k", "png", "jpeg"])
def test_the_size_is_read_from_the_header_and_bounded(codec: Codec) -> None:
    values = np.random.default_rng(1).integers(0, 200, (37, 53)).astype(np.uint16)
    stream = encode_film(values, codec)
    assert stream_shape(stream) == (37, 53)
    for cut in (3, 9, 14):
        with pytest.raises(ValueError):
            decode_film(stream[:cut], bits=15)
    with pytest.raises(ValueError, match="too many pixels"):  # a header that declares 65,535 x 65,535
        decode_film(_of_size(stream, codec, 65_535), bits=15)


def _of_size(stream: bytes, codec: Codec, side: int) -> bytes:
    places = {"jpeg": stream.find(b"\xff\xc0") + 5, "png": 16, "htj2k": 8}
    size = struct.pack(">HH" if codec == "jpeg" else ">II", side, side)
    return stream[: places[codec]] + size + stream[places[codec] + len(size) :]
