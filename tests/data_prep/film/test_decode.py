"""Every transfer syntax compared with the stored values of independent encoders; damaged and unusual files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.native import _encode_frame as rle_encode

from data_prep.dicom.hidden_pixels import find_hidden_pixels
from data_prep.errors import FilmReject, Reason
from data_prep.film.decode import StoredFilm, apply_orientation, decode
from tests.builders.dicom_builder import ramp, write_film

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs" / "dicom"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def noise(rows: int = 40, columns: int = 30, bits: int = 12) -> NDArray[np.uint16]:
    generator = np.random.default_rng(bits)
    return (ramp(rows, columns, bits) // 2 + generator.integers(0, 2 ** (bits - 1), (rows, columns))).astype(np.uint16)


def packed(film: pydicom.Dataset, frame: bytes) -> bytes:
    """The file of ``film`` with its pixels replaced by one encapsulated frame of any syntax."""
    film.PixelData = encapsulate([frame])
    film["PixelData"].VR = "OB"
    film.file_meta.TransferSyntaxUID = RLE  # pydicom writes no JPEG XL; the syntax comes from the manifest anyway
    return saved(film)


def saved(film: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom(data: bytes, syntax: str = EXPLICIT) -> StoredFilm:
    return decode(data, source="dicom", transfer_syntax=syntax)


def rejected(data: bytes, syntax: str | None = EXPLICIT, source: str = "dicom") -> Reason:
    with pytest.raises(FilmReject) as caught:
        decode(data, source=source, transfer_syntax=syntax)
    return caught.value.reason


def film_of(tmp_path: Path, values: NDArray[Any], **attributes: Any) -> pydicom.Dataset:
    write_film(tmp_path / "film.dcm", values=values, **attributes)
    return pydicom.dcmread(tmp_path / "film.dcm")


def _rle(values: NDArray[Any]) -> bytes:
    """pydicom's encoder."""
    from pydicom.pixels.encoders.base import EncodeRunner

    runner = EncodeRunner(RLE)
    runner.set_options(rows=values.shape[0], columns=values.shape[1], samples_per_pixel=1, number_of_frames=1,
        bits_allocated=8 * values.itemsize, bits_stored=8 * values.itemsize, pixel_representation=0,
        photometric_interpretation="MONOCHROME2")  # fmt: skip
    return bytes(rle_encode(values.tobytes(), runner))


ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    RLE: _rle,
    "1.2.840.10008.1.2.4.57": lambda values: imagecodecs.ljpeg_encode(values, bitspersample=12),
    "1.2.840.10008.1.2.4.70": lambda values: imagecodecs.jpeg8_encode(
        values, lossless=True, bitspersample=12, predictor=1
    ),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda values: imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k"),
    "1.2.840.10008.1.2.4.110": lambda values: imagecodecs.jpegxl_encode(values, lossless=True),
    "1.2.840.10008.1.2.4.201": lambda values: imagecodecs.htj2k_encode(values, reversible=True),
    "1.2.840.10008.1.2.4.202": lambda values: imagecodecs.htj2k_encode(values, reversible=True, tlm=True),
}


@pytest.mark.parametrize("syntax", ENCODERS)
def test_every_lossless_syntax_gives_the_stored_values(syntax: str, tmp_path: Path) -> None:
    values = noise()
    film = dicom(packed(film_of(tmp_path, values), ENCODERS[syntax](values)), syntax)
    assert np.array_equal(film.values, values) and film.bits == 12 and not film.signed


@pytest.mark.parametrize(
    ("syntax", "bits", "encode"),
    [
        ("1.2.840.10008.1.2.4.50", 8, lambda values: imagecodecs.jpeg8_encode(values, level=98)),
        ("1.2.840.10008.1.2.4.51", 12, lambda values: imagecodecs.jpeg8_encode(values, level=98, bitspersample=12)),
        ("1.2.840.10008.1.2.4.81", 12, lambda values: imagecodecs.jpegls_encode(values, level=2)),
        ("1.2.840.10008.1.2.4.91", 12, lambda values: imagecodecs.jpeg2k_encode(values, level=90, codecformat="j2k")),
        ("1.2.840.10008.1.2.4.112", 8, lambda values: imagecodecs.jpegxl_encode(values, level=98)),
        ("1.2.840.10008.1.2.4.203", 12, lambda values: imagecodecs.htj2k_encode(values, reversible=True)),
    ],
)
def test_every_lossy_syntax_is_close_to_the_stored_values(
    syntax: str, bits: int, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    values = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16) << (bits - 7)
    values = values.astype(np.uint8) if bits == 8 else values
    film = dicom(packed(film_of(tmp_path, values, bits=bits), encode(values)), syntax)
    assert np.abs(film.values.astype(int) - values).max() <= 0.03 * 2**bits


@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2", BIG])
def test_uncompressed_films_in_every_byte_order(syntax: str, tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    write_film(path, values=noise(), transfer_syntax=syntax)
    assert np.array_equal(dicom(path.read_bytes(), syntax).values, noise())


def test_deflated_film(tmp_path: Path) -> None:
    film = film_of(tmp_path, noise())
    film.file_meta.TransferSyntaxUID = DEFLATED
    assert np.array_equal(dicom(saved(film), DEFLATED).values, noise())


def test_deflated_bomb_is_refused_before_it_fills_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = film_of(tmp_path, np.zeros((1000, 1000), np.uint16))
    film.file_meta.TransferSyntaxUID = DEFLATED
    data = saved(film)
    assert len(data) < 20_000 and rejected(data, DEFLATED) is Reason.CONSTANT
    monkeypatch.setattr("data_prep.film.decode.MAX_INFLATED_BYTES", 100_000)
    assert rejected(data, DEFLATED) is Reason.TOO_LARGE
    assert rejected(data[:-60], DEFLATED) is Reason.TOO_LARGE


def test_damaged_deflated_film_is_corrupt(tmp_path: Path) -> None:
    film = film_of(tmp_path, noise())
    film.file_meta.TransferSyntaxUID = DEFLATED
    data = saved(film)
    for damaged in (data[:-200], data[:600] + b"\xff" * 40 + data[640:]):
        assert rejected(damaged, DEFLATED) is Reason.CORRUPT_PIXELS


def test_rle_agrees_with_pydicom_on_8_and_16_bits(tmp_path: Path) -> None:
    for values, bits in ((noise(33, 17, 16), 16), (noise(33, 17, 8).astype(np.uint8), 8)):
        data = packed(film_of(tmp_path, values, bits=bits), _rle(values))
        theirs = pydicom.dcmread(io.BytesIO(data)).pixel_array
        assert np.array_equal(dicom(data, RLE).values, theirs)


MARKED = sorted(set(ENCODERS) - {RLE, "1.2.840.10008.1.2.4.110"})


@pytest.mark.parametrize("syntax", MARKED)
def test_bytes_after_the_image_are_removed_and_reported(syntax: str, tmp_path: Path) -> None:
    frame = bytes(ENCODERS[syntax](noise()))
    for behind, notes in ((b"", []), (b"\0\0", []), (b"\xff\xff\0", []), (b"ACME 1.0", ["bytes_behind_image"]),
                          (bytes(range(256)) * 40, ["bytes_behind_image"])):  # fmt: skip
        film = dicom(packed(film_of(tmp_path, noise()), frame + behind), syntax)
        assert np.array_equal(film.values, noise()) and film.notes == notes


@pytest.mark.parametrize("syntax", MARKED)
def test_an_end_marker_in_a_comment_does_not_make_a_cut_stream_whole(syntax: str, tmp_path: Path) -> None:
    frame = bytes(ENCODERS[syntax](noise()))
    if frame.startswith(b"\xff\xd8"):  # after the start; after the sizes of a codestream
        place, comment = 2, b"\xff\xfe\0\x06ab\xff\xd9"
    else:
        place, comment = 4 + int.from_bytes(frame[4:6], "big"), b"\xff\x64\0\x06\0\x01\xff\xd9"
    commented = frame[:place] + comment + frame[place:]
    assert np.array_equal(dicom(packed(film_of(tmp_path, noise()), commented), syntax).values, noise())
    assert (
        rejected(packed(film_of(tmp_path, noise()), commented[: len(commented) // 2]), syntax) is Reason.CORRUPT_PIXELS
    )


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the real films are not next to the checkout")
def test_real_lossless_films_equal_the_reference_sample_by_sample() -> None:
    reference = np.frombuffer(pydicom.dcmread(REAL / "wg04/REF/RG2_UNC.dcm").PixelData, "<u2").reshape(2140, 1760)
    names = ["REF/RG2_UNC", "RLE/RG2_RLE", "JPLL/RG2_JPLL", "JLSL/RG2_JLSL", "J2KR/RG2_J2KR"]
    paths = [REAL / "wg04" / f"{name}.dcm" for name in names] + [REAL / "derived/RG2_HTJ2K_lossless.dcm"]
    for path in paths:
        syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
        assert np.array_equal(dicom(path.read_bytes(), syntax).values, reference), path.name
    lossy = dicom((REAL / "wg04/JPLY/RG2_JPLY.dcm").read_bytes(), "1.2.840.10008.1.2.4.51").values
    assert np.abs(lossy.astype(int) - reference).mean() < 5


def test_left_justified_values_are_moved_by_high_bit(tmp_path: Path) -> None:
    film = film_of(tmp_path, (noise() << 4).astype(np.uint16), bits=12, HighBit=15)
    assert np.array_equal(dicom(saved(film)).values, noise())


def test_wrong_high_bit_does_not_lose_bits(tmp_path: Path) -> None:
    film = film_of(tmp_path, noise(), bits=12, HighBit=15)
    assert np.array_equal(dicom(saved(film)).values, noise())


def test_embedded_overlay_is_removed_and_wide_values_are_kept(tmp_path: Path) -> None:
    wide = dicom(saved(film_of(tmp_path, ramp(40, 30, 13), bits=10)))
    assert wide.bits == 13 and np.array_equal(wide.values, ramp(40, 30, 13))  # Bits Stored is wrong, nothing wraps
    film = film_of(tmp_path, noise(bits=10) | (np.arange(30, dtype=np.uint16) % 2 << 12), bits=10)
    for element, value in ((None, 0), (0x60000100, 16), (0x60000102, 12)):
        if element is not None:
            film.add_new(element, "US", value)
        overlaid = dicom(saved(film))
        assert overlaid.bits == 10 and np.array_equal(overlaid.values, noise(bits=10))


@pytest.mark.parametrize("extended", [True, False])
def test_sign_is_extended_from_bits_stored(extended: bool, tmp_path: Path) -> None:
    signed = noise().astype(np.int16) - 2048
    written = signed if extended else (signed.view(np.uint16) & 0x0FFF).view(np.int16)
    film = dicom(saved(film_of(tmp_path, written, bits=12)))
    assert film.signed and film.bits == 12 and np.array_equal(film.values, signed)


def test_signed_values_beyond_bits_stored_are_kept(tmp_path: Path) -> None:
    signed = ramp(40, 30, 14).astype(np.int16) - 8192
    film = dicom(saved(film_of(tmp_path, signed, bits=12)))
    assert film.bits == 14 and np.array_equal(film.values, signed)


def test_padding_and_its_range_are_hidden(tmp_path: Path) -> None:
    values = noise()
    values[:5], values[5:8] = 4000, 4050
    film = film_of(tmp_path, values, PixelPaddingValue=4000)
    assert np.array_equal(dicom(saved(film)).hidden, values == 4000)
    film.add_new(0x00280121, "US", 4060)
    assert np.array_equal(dicom(saved(film)).hidden, (values >= 4000) & (values <= 4060))
    signed = values.astype(np.int16) - 2048
    signed[0] = -2000
    film = film_of(tmp_path, signed, bits=12)
    film.add_new(0x00280120, "US", 65536 - 2000)  # has the sign of the pixels for any VR
    assert np.array_equal(dicom(saved(film)).hidden, signed == -2000)


def test_pixels_outside_any_shutter_are_hidden() -> None:
    values = np.ones((100, 80), dtype=np.uint16)
    shutter = pydicom.Dataset()
    shutter.ShutterShape = "RECTANGULAR"
    shutter.ShutterLeftVerticalEdge, shutter.ShutterRightVerticalEdge = 11, 70
    shutter.ShutterUpperHorizontalEdge, shutter.ShutterLowerHorizontalEdge = 21, 90
    visible = np.zeros_like(values, dtype=bool)
    visible[20:90, 10:70] = True
    assert np.array_equal(~find_hidden_pixels(values, shutter)[0], visible)
    shutter.ShutterShape = ["RECTANGULAR", "CIRCULAR"]
    shutter.CenterOfCircularShutter, shutter.RadiusOfCircularShutter = [51, 41], 30
    down, across = np.indices(values.shape)
    circle = (down - 50) ** 2 + (across - 40) ** 2 <= 900
    assert np.array_equal(~find_hidden_pixels(values, shutter)[0], visible & circle)
    shutter.ShutterShape, shutter.VerticesOfThePolygonalShutter = "POLYGONAL", [1, 1, 1, 80, 100, 1]
    is_visible = ~find_hidden_pixels(values, shutter)[0]
    assert (
        is_visible[0].all()
        and is_visible[99, 0]
        and not is_visible[99, 1:].any()
        and abs(is_visible.mean() - 0.5) < 0.02
    )


def test_bitmap_shutter_hides_the_ones_of_its_plane() -> None:
    values = np.ones((30, 21), dtype=np.uint16)
    hidden = np.zeros(values.shape, dtype=bool)
    hidden[:4], hidden[10:12, 5:9] = True, True
    shutter = pydicom.Dataset()
    shutter.ShutterShape, shutter.ShutterOverlayGroup = "BITMAP", 0x6002
    shutter.add_new(0x60020010, "US", 30)
    shutter.add_new(0x60020011, "US", 21)
    shutter.add_new(0x60023000, "OW", np.packbits(hidden, bitorder="little").tobytes() + b"\0")
    found, notes = find_hidden_pixels(values, shutter)
    assert np.array_equal(found, hidden) and notes == ["shutter_hidden"]
    for gone in (0x60020010, 0x60023000):
        broken = pydicom.Dataset()
        broken.update(shutter)
        del broken[gone]
        assert find_hidden_pixels(values, broken) == (None, ["shutter_ignored"])


@pytest.mark.parametrize("edges", [(200, 300), (70, 11), (5, 5)])
def test_shutter_that_would_hide_all_is_ignored(edges: tuple[int, int]) -> None:
    shutter = pydicom.Dataset()
    shutter.ShutterShape = "RECTANGULAR"
    shutter.ShutterLeftVerticalEdge, shutter.ShutterRightVerticalEdge = edges
    shutter.ShutterUpperHorizontalEdge, shutter.ShutterLowerHorizontalEdge = 40, 40
    assert find_hidden_pixels(np.ones((100, 80), dtype=np.uint16), shutter)[0] is None


def test_damaged_films_are_rejected_with_their_reason(tmp_path: Path) -> None:
    film = film_of(tmp_path, noise())
    assert rejected(saved(film)[:-40]) is Reason.CORRUPT_PIXELS
    assert rejected(saved(film), "1.2.840.10008.1.2.4.100") is Reason.TRANSFER_SYNTAX
    assert rejected(saved(film), None) is Reason.TRANSFER_SYNTAX
    for syntax, encode in ENCODERS.items():
        frame = encode(noise())
        for cut in (len(frame) // 3, len(frame) - 8):
            assert rejected(packed(film_of(tmp_path, noise()), frame[:cut]), syntax) is Reason.CORRUPT_PIXELS
        other = packed(film_of(tmp_path, noise(41, 30)), frame)
        assert rejected(other, syntax) is Reason.CORRUPT_PIXELS, "another size than the header says"
    whole = packed(film_of(tmp_path, noise()), ENCODERS[RLE](noise()))
    for size in (len(whole) // 2, len(whole) - 30, 7, 0):
        assert rejected(whole[:size], RLE) is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
        ({"Columns": 15}, Reason.TOO_SMALL),
        ({"BitsAllocated": 32}, Reason.PIXEL_LAYOUT),
        ({"BitsStored": 20}, Reason.PIXEL_LAYOUT),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.PIXEL_LAYOUT),
        ({"PixelData": None}, Reason.NO_PIXELS),
    ],
)
def test_headers_of_no_film_are_rejected(attributes: dict[str, Any], reason: Reason, tmp_path: Path) -> None:
    film = film_of(tmp_path, noise())
    for keyword, value in attributes.items():
        if value is None:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
    assert rejected(saved(film)) is reason


def test_constant_films_are_rejected(tmp_path: Path) -> None:
    flat = np.full((20, 20), 7, np.uint16)
    assert rejected(saved(film_of(tmp_path, flat))) is Reason.CONSTANT
    flat[3:9] = 4000  # all but padding is one value
    assert rejected(saved(film_of(tmp_path, flat, PixelPaddingValue=4000))) is Reason.CONSTANT


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_images_of_every_mode_become_grey() -> None:
    grey = noise(bits=8).astype(np.uint8)
    image = Image.fromarray(grey)
    films = {
        "grey": encoded(image), "rgb": encoded(image.convert("RGB")), "palette": encoded(image.convert("P")),
        "opaque": encoded(image.convert("RGBA")), "grey with alpha": encoded(image.convert("LA")),
    }  # fmt: skip
    for name, data in films.items():
        film = decode(data, source="png")
        assert film.bits == 8 and film.header is None and np.array_equal(film.values, grey), name
    bitmap = decode(encoded(image.point(lambda value: 255 * (value > 99)).convert("1", dither=0)), source="png")
    assert np.array_equal(np.unique(bitmap.values), [0, 255])
    jpeg = decode(encoded(Image.fromarray(ramp(40, 30, 8).astype(np.uint8)).convert("RGB"), "JPEG"), source="jpeg")
    assert np.abs(jpeg.values.astype(int) - ramp(40, 30, 8)).max() < 12


def test_deep_png_keeps_16_bits() -> None:
    values = noise(bits=16)
    assert np.array_equal(decode(encoded(Image.fromarray(values)), source="png").values, values)
    rgb = imagecodecs.png_encode(np.repeat(values[:, :, None], 3, axis=2))
    assert np.array_equal(decode(bytes(rgb), source="png").values, values)


def test_transparent_pixels_are_black() -> None:
    grey = noise(bits=8).astype(np.uint8)
    alpha = np.full_like(grey, 255)
    alpha[:5] = 0
    film = decode(encoded(Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))), source="png")
    assert not film.values[:5].any() and np.array_equal(film.values[5:], grey[5:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_as_pillow_does(orientation: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(noise(bits=8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(image, "JPEG", quality=100, exif=exif)
    theirs = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    assert np.array_equal(decode(file, source="jpeg", orientation=orientation).values, theirs)
    assert np.array_equal(apply_orientation(np.asarray(image), 1), np.asarray(image))


def test_damaged_images_are_rejected_with_their_reason() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert rejected(encoded(Image.fromarray(photo)), source="png") is Reason.COLOUR
    grey = encoded(Image.fromarray(noise(200, 200, 8).astype(np.uint8)), "JPEG")
    assert rejected(grey[: len(grey) // 2], source="jpeg") is Reason.CORRUPT_PIXELS
    deep = encoded(Image.fromarray(noise(200, 200, 16)))
    assert rejected(deep[: len(deep) // 2], source="png") is Reason.CORRUPT_PIXELS
    assert rejected(encoded(Image.new("L", (15, 40))), source="png") is Reason.TOO_SMALL
    assert rejected(encoded(Image.new("1", (20_000, 20_000))), source="png") is Reason.TOO_LARGE
    assert rejected(b"", source="png") is Reason.CORRUPT_PIXELS
