"""Films stored with three channels or a palette: grey ones are accepted, coloured ones are rejected."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from data_prep.dicom.segmented_lut import expand_segments
from data_prep.errors import Reason
from data_prep.film.header_display_settings import declared_range, derive_display
from data_prep.film.shard_values import to_shard_values, value_range
from tests.builders.dicom_builder import write_film
from tests.data_prep.film.test_decode import RLE, dicom, film_of, noise, packed, rejected, saved

JPEG = "1.2.840.10008.1.2.4.50"
GREY = noise(bits=8).astype(np.uint8)
RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def palette_film(tmp_path: Path, indices: NDArray[Any], tables: list[NDArray[Any]], first: int = 0) -> pydicom.Dataset:
    film = film_of(tmp_path, indices, bits=indices.dtype.itemsize * 8, photometric="PALETTE COLOR")
    for place, table in enumerate(tables):  # red, green, blue
        film.add_new(0x00281101 + place, "US", [len(table) % 65536, first % 65536, table.dtype.itemsize * 8])
        film.add_new(0x00281201 + place, "OW", table.tobytes())
    return film


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("first", [0, 10])
def test_grey_palette_is_applied(depth: type[np.unsignedinteger[Any]], first: int, tmp_path: Path) -> None:
    table = np.linspace(0, np.iinfo(depth).max, 256).astype(depth)[::-1].copy()
    film = dicom(saved(palette_film(tmp_path, GREY, [table] * 3, first)))
    assert np.array_equal(film.values, table[np.clip(GREY.astype(int) - first, 0, 255)])
    assert film.bits == np.dtype(depth).itemsize * 8 and "palette_applied" in film.notes


def test_palette_agrees_with_pydicom(tmp_path: Path) -> None:
    from pydicom.pixels import apply_color_lut

    table = np.random.default_rng(0).integers(0, 65536, 256).astype("<u2")
    film = palette_film(tmp_path, GREY, [table] * 3)
    theirs = apply_color_lut(GREY, film)
    assert np.array_equal(dicom(saved(film)).values, theirs[:, :, 0])


def segmented_film(tmp_path: Path, codes: NDArray[Any], length: int) -> pydicom.Dataset:
    film = palette_film(tmp_path, GREY, [np.zeros(length, codes.dtype)] * 3)
    for place in range(3):
        del film[0x00281201 + place]
        film.add_new(0x00281221 + place, "OW", codes.tobytes() + bytes(codes.nbytes % 2))
    return film


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_segmented_palette_agrees_with_pydicom(depth: type[np.unsignedinteger[Any]], tmp_path: Path) -> None:
    from pydicom.pixels import apply_color_lut

    top = np.iinfo(depth).max
    film = segmented_film(tmp_path, np.array([0, 3, 9, 200, 0, 1, 100, top, 1, 103, 5, 0, 50, *range(50)], depth), 256)
    found = dicom(saved(film))
    difference = found.values.astype(int) - apply_color_lut(GREY, film)[:, :, 0]
    assert np.abs(difference).max() <= 1, "the half is rounded up or down"
    assert found.values.max() == top and found.bits == 8 * np.dtype(depth).itemsize


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_indirect_segments_are_copied_from_their_byte(depth: type[np.unsignedinteger[Any]]) -> None:
    offset = 4 * np.dtype(depth).itemsize
    words = [offset, 0, 0, 0] if depth is np.uint8 else [offset, 0]
    codes = np.array([0, 2, 7, 9, 0, 1, 30, 1, 2, 10, 2, 2, *words, 0, 1, 99], depth)
    assert expand_segments(codes, 9).tolist() == [7, 9, 30, 20, 10, 30, 20, 10, 99]


@pytest.mark.parametrize(
    "codes",
    [[], [0], [0, 2, 7], [1, 2, 7], [2, 1, 0, 0], [0, 0] * 9, [0, 9, *range(9)], [3, 1, 1], [0, 1, 5, 2, 1, 3, 0]],
)
def test_broken_segments_make_no_table(codes: list[int]) -> None:
    with pytest.raises((ValueError, IndexError)):
        expand_segments(np.array(codes, np.uint16), 8)


def test_coloured_and_broken_palettes_are_rejected(tmp_path: Path) -> None:
    table = np.arange(256).astype(np.uint8)
    assert rejected(saved(palette_film(tmp_path, GREY, [table, table, table[::-1].copy()]))) is Reason.COLOUR
    short = palette_film(tmp_path, GREY, [table] * 3)
    short.BluePaletteColorLookupTableData = bytes(20)
    assert rejected(saved(short)) is Reason.PIXEL_LAYOUT
    segmented = palette_film(tmp_path, GREY, [table] * 3)
    segmented.SegmentedRedPaletteColorLookupTableData = segmented.RedPaletteColorLookupTableData
    del segmented.RedPaletteColorLookupTableData
    assert rejected(saved(segmented)) is Reason.PIXEL_LAYOUT


def test_grey_films_pass_in_every_arrangement(tmp_path: Path) -> None:
    neutral = np.dstack((GREY, np.full_like(GREY, 128), np.full_like(GREY, 129)))
    planar = film_of(tmp_path, RGB, bits=8, photometric="RGB", PlanarConfiguration=1)
    planar.PixelData = np.moveaxis(RGB, -1, 0).tobytes()
    pairs = np.concatenate((GREY.reshape(-1, 2), np.full((GREY.size // 2, 2), 128, np.uint8)), axis=1)
    subsampled = film_of(tmp_path, RGB, bits=8, photometric="YBR_FULL_422")
    subsampled.PixelData = pairs.tobytes()
    films = {
        "RGB": film_of(tmp_path, RGB, bits=8, photometric="RGB"),
        "planar": planar,
        "YBR_FULL": film_of(tmp_path, neutral, bits=8, photometric="YBR_FULL"),
        "YBR_FULL_422": subsampled,
        "RGB called YBR": film_of(tmp_path, RGB, bits=8, photometric="YBR_FULL"),
    }
    for name, film in films.items():
        decoded = dicom(saved(film))
        assert np.array_equal(decoded.values, GREY), name
        assert decoded.notes == ["colour_stored_grey"], name
    jpeg_ls = packed(film_of(tmp_path, RGB, bits=8, photometric="YBR_FULL"), imagecodecs.jpegls_encode(neutral))
    assert np.array_equal(dicom(jpeg_ls, "1.2.840.10008.1.2.4.80").values, GREY)


def test_coloured_films_are_rejected_in_every_arrangement(tmp_path: Path) -> None:
    red = RGB.copy()
    red[10:14, 10:14, 2] = 255 - red[10:14, 10:14, 2] // 2
    tinted = np.dstack((GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)))
    tinted[10:14, 10:14, 1] = 250
    for colours, photometric in ((red, "RGB"), (tinted, "YBR_FULL")):
        assert rejected(saved(film_of(tmp_path, colours, bits=8, photometric=photometric))) is Reason.COLOUR
    pairs = np.concatenate((GREY.reshape(-1, 2), np.full((GREY.size // 2, 2), 128, np.uint8)), axis=1)
    pairs[40:80, 3] = 10
    film = film_of(tmp_path, RGB, bits=8, photometric="YBR_FULL_422")
    film.PixelData = pairs.tobytes()
    assert rejected(saved(film)) is Reason.COLOUR


def _unmarked(stream: bytes) -> bytes:
    """An RGB stream without colour markers, with components numbered 1 to 3."""
    data = bytearray(stream)
    app14 = data.index(b"\xff\xee")
    del data[app14 : app14 + 2 + int.from_bytes(data[app14 + 2 : app14 + 4], "big")]
    for number, letter in enumerate(b"RGB", start=1):
        data[data.index(bytes((letter, 0x11)))] = number
    scan = data.index(b"\xff\xda")
    data[scan + 5], data[scan + 7], data[scan + 9] = 1, 2, 3
    return bytes(data)


def test_unmarked_rgb_jpeg_is_not_taken_for_luminance_and_chrominance(tmp_path: Path) -> None:
    smooth = np.repeat(np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8)[:, :, None] * 3, 3, axis=2)
    stream = _unmarked(imagecodecs.jpeg8_encode(smooth, level=98, colorspace="RGB", outcolorspace="RGB"))
    film = dicom(packed(film_of(tmp_path, smooth, bits=8, photometric="RGB"), stream), JPEG)
    assert np.abs(film.values.astype(int) - smooth[:, :, 0]).max() < 4


def test_windows_do_not_apply_to_colour_films(tmp_path: Path) -> None:
    film = dicom(saved(film_of(tmp_path, RGB, bits=8, photometric="RGB", window=(40, 20))))
    values = value_range(film)
    counts = np.bincount(to_shard_values(film, values).ravel(), minlength=2**values.bits)
    assert derive_display(film.header, values, counts) == declared_range(values)


def test_floating_and_wide_words_are_rejected_as_such(tmp_path: Path) -> None:
    film = film_of(tmp_path, noise())
    film.FloatPixelData = film.PixelData
    del film.PixelData
    film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    assert rejected(saved(film)) is Reason.PIXEL_LAYOUT
    write_film(tmp_path / "wide.dcm", values=noise().astype(np.uint32), bits=16)
    assert rejected((tmp_path / "wide.dcm").read_bytes()) is Reason.PIXEL_LAYOUT


def test_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A decoder would allocate memory for the declared size: 65,535 pixels per side."""
    for syntax, encode, marker in (
        ("1.2.840.10008.1.2.4.70", lambda v: imagecodecs.jpeg8_encode(v, lossless=True, bitspersample=12), b"\xff\xc3"),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode, b"\xff\xf7"),
    ):
        stream = bytearray(encode(noise()))
        place = stream.index(marker)
        stream[place + 5 : place + 9] = b"\xff\xff\xff\xff"
        assert rejected(packed(film_of(tmp_path, noise()), bytes(stream)), syntax) is Reason.CORRUPT_PIXELS
    for syntax, code in (
        ("1.2.840.10008.1.2.4.90", lambda v: imagecodecs.jpeg2k_encode(v, level=0, codecformat="j2k")),
        ("1.2.840.10008.1.2.4.201", lambda v: imagecodecs.htj2k_encode(v, reversible=True)),
    ):
        stream = bytearray(code(noise()))
        stream[8:16] = b"\0\0\xff\xff\0\0\xff\xff"
        assert rejected(packed(film_of(tmp_path, noise()), bytes(stream)), syntax) is Reason.CORRUPT_PIXELS


def test_rle_of_three_planes_is_grey(tmp_path: Path) -> None:
    from pydicom.pixels.encoders.base import EncodeRunner
    from pydicom.pixels.encoders.native import _encode_frame

    runner = EncodeRunner(RLE)
    runner.set_options(rows=40, columns=30, samples_per_pixel=3, number_of_frames=1, bits_allocated=8, bits_stored=8,
        pixel_representation=0, photometric_interpretation="RGB", planar_configuration=0)  # fmt: skip
    data = packed(film_of(tmp_path, RGB, bits=8, photometric="RGB"), bytes(_encode_frame(RGB.tobytes(), runner)))
    assert np.array_equal(dicom(data, RLE).values, GREY)
