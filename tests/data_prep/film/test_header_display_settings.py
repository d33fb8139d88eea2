"""Display compared with the formulae of the standard, and with highdicom and pydicom for whole headers."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from data_prep.deidentify.allow_list import display_problems
from data_prep.film.header_display_settings import declared_range, derive_display
from data_prep.shard_format.apply_display import ValueRange, apply_display, display_table, pack_table, unpack_table
from tests.builders.dicom_builder import write_film

VALUES = np.arange(4096, dtype=np.uint16).reshape(64, 64)
RANGE = ValueRange(bits=12)
EVEN = np.ones(4096, dtype=np.int64)


def header(**attributes: Any) -> Dataset:
    made = Dataset()
    made.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def lut(entries: NDArray[Any], *, first: int = 0, bits: int = 16, signed: bool = False) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "OW", entries.tobytes() + b"\0" * (entries.nbytes % 2))
    return item


def curve(length: int = 300) -> NDArray[np.uint16]:
    """A bent table over the full range of 16 bits."""
    return np.asarray(np.rint(65535 * np.linspace(0, 1, length) ** 2), dtype="<u2")


def display_values(made: Dataset, values: ValueRange = RANGE, counts: NDArray[np.int64] = EVEN) -> NDArray[np.uint16]:
    return display_table(derive_display(made, values, counts))


WINDOWED: list[dict[str, Any]] = [
    {"window": (2000, 1000)},
    {"window": (1000, 1000), "rescale": (0.5, -100), "VOILUTFunction": "LINEAR_EXACT"},
    {"window": (2000, 1000), "rescale": (-2, 5000), "VOILUTFunction": "SIGMOID"},
    {"window": (2000, 1000), "VOILUTFunction": "SIGMOID"},
    {"window": (2000, 1000), "VOILUTFunction": "LINEAR_EXACT"},
    {"window": (2000, 1000), "photometric": "MONOCHROME1"},
    {"window": (2000.5, 800.25), "photometric": "MONOCHROME1", "VOILUTFunction": "SIGMOID"},
    {"VOILUTSequence": [lut(curve(), first=500)]},
    {"VOILUTSequence": [lut(curve(), first=500)], "photometric": "MONOCHROME1"},
    {"ModalityLUTSequence": [lut(curve(4096))], "window": (30000, 40000)},
    {"ModalityLUTSequence": [lut(curve(4096))], "VOILUTSequence": [lut(curve(60000), first=2000)]},
]


@pytest.mark.parametrize("attributes", WINDOWED)
def test_display_equals_that_of_highdicom(attributes: dict[str, Any], tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed (extra dev)")
    inverse = attributes.get("photometric") == "MONOCHROME1"
    film = write_film(
        tmp_path / "film.dcm",
        values=VALUES,
        PresentationLUTShape="INVERSE" if inverse else "IDENTITY",
        StudyTime="120000",
        **attributes,
    )
    for sequence in (film.get("ModalityLUTSequence"), film.get("VOILUTSequence")):
        for item in sequence or []:
            item.ModalityLUTType = "US"
    image = hd.imread(tmp_path / "film.dcm")
    theirs = image.get_frame(1, apply_voi_transform=True, apply_presentation_lut=True, dtype=np.float64)
    theirs /= theirs.max() if theirs.max() > 1 else 1  # it does not scale the output of two tables in a row
    ours = display_values(film)[VALUES] / 65535
    assert np.abs(ours - theirs).max() <= 0.5001 / 65535


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("window", [(2047.5, 4096), (100.25, 50.5), (1000, 2), (0, 3000)])
def test_window_equals_that_of_pydicom(function: str, window: tuple[float, float]) -> None:
    from pydicom.pixels import apply_windowing

    made = header(WindowCenter=window[0], WindowWidth=window[1], VOILUTFunction=function)
    made.BitsStored, made.PixelRepresentation = 12, 0
    with np.errstate(over="ignore"):
        theirs = apply_windowing(VALUES, made).ravel() / 4095
    counts = np.where((theirs > 0.05) & (theirs < 0.95), 1, 0) + np.eye(1, 4096, 0, dtype=np.int64)[0]
    counts[4095] = 1
    if window[1] == 2:  # two grey values: nothing to see
        assert derive_display(made, RANGE, EVEN).source == "percentile"
    else:
        assert np.abs(display_values(made, counts=counts) / 65535 - theirs).max() <= 0.5001 / 65535


def test_linear_window_has_the_ends_that_the_standard_gives() -> None:
    table = display_values(header(WindowCenter=2048, WindowWidth=4096))
    assert table[0] == 0 and table[4095] == 65535  # PS3.3 C.11.2.1.2: c = 2048, w = 4096 is the identity of 12 bits
    assert np.abs(table / 65535 - np.arange(4096) / 4095).max() <= 0.5001 / 65535
    table = display_values(header(WindowCenter=2048, WindowWidth=1001))
    assert np.flatnonzero(table)[0] == 1548  # c - 0.5 - (w - 1) / 2 = 1547.5 is the last black
    assert np.flatnonzero(table == 65535)[0] == 2548


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -100.0), (-2.0, 5000.0), (1.0, -1024.0)])
def test_window_is_in_units_after_rescale(slope: float, intercept: float) -> None:
    # written out from PS3.3 C.11.2.1.2.1; highdicom folds slope and window together and is a grey value off here
    made = header(WindowCenter=900, WindowWidth=1000, RescaleSlope=slope, RescaleIntercept=intercept)
    table = display_values(made)
    for stored in range(0, 4096, 7):
        x = slope * stored + intercept
        if x <= 900 - 0.5 - (1000 - 1) / 2:
            y = 0.0
        elif x > 900 - 0.5 + (1000 - 1) / 2:
            y = 1.0
        else:
            y = (x - (900 - 0.5)) / (1000 - 1) + 0.5
        assert table[stored] == pytest.approx(y * 65535, abs=0.5001)


def test_monochrome1_is_inverted_exactly_once() -> None:
    window = {"WindowCenter": 2048, "WindowWidth": 3000}
    plain = display_values(header(**window))
    for shape in ({}, {"PresentationLUTShape": "INVERSE"}, {"PresentationLUTShape": "IDENTITY"}):
        inverted = display_values(header(**window | shape | {"PhotometricInterpretation": "MONOCHROME1"}))
        assert np.abs(inverted.astype(int) + plain - 65535).max() <= 1
    assert np.array_equal(display_values(header(**window, PresentationLUTShape="INVERSE")), plain)


def test_negative_slope_turns_the_order_of_values_but_not_the_window() -> None:
    made = header(WindowCenter=2048, WindowWidth=4096, RescaleSlope=-1, RescaleIntercept=4095)
    table = display_values(made)
    assert table[0] == 65535 and table[-1] == 0


def test_stored_values_are_restored_from_offset_and_shift() -> None:
    made = header(WindowCenter=0, WindowWidth=4096)
    signed = display_table(derive_display(made, ValueRange(12, offset=2048), EVEN))
    assert signed[0] == 0 and signed[2048 + 500] == round(65535 * (500.5 + 2047.5) / 4095) and signed[-1] == 65535
    wide = ValueRange(15, shift=1)
    table = display_table(derive_display(header(WindowCenter=32768, WindowWidth=65536), wide, np.ones(2**15, np.int64)))
    assert table[0] == 0 and abs(int(table[-1]) - 65534) <= 1


@pytest.mark.parametrize(
    ("center", "width", "why"),
    [(2048, 0, "no width"), (2048, -5, "negative width"), (2048, 0.5, "below 1"), (9000, 200, "outside"),
     (2048, 3, "clips nearly everything"), (2048, 2**20, "all one grey")],
)  # fmt: skip
def test_unusable_window_is_replaced_by_percentiles(center: float, width: float, why: str) -> None:
    display = derive_display(header(WindowCenter=center, WindowWidth=width), RANGE, EVEN)
    assert display.source == "percentile", why
    assert display.windows == [(center, width)]
    table = display_table(display)
    assert table[10] == 0 and table[-10] == 65535 and 30000 < table[2048] < 36000


def test_percentiles_are_those_of_the_content() -> None:
    values = np.random.default_rng(0).normal(2000, 200, 100_000).clip(1, 4094).astype(np.int64)
    counts = np.bincount(values, minlength=4096)
    counts[0] = 60_000  # black border
    counts[4095] = 8_000  # saturated
    display = derive_display(header(), RANGE, counts)
    low, high = np.percentile(values, [0.5, 99.5])
    assert display.center == pytest.approx((low + high) / 2, abs=3)
    assert display.width == pytest.approx(high - low, abs=6)


def test_film_of_two_values_displays_both() -> None:
    counts = np.zeros(4096, dtype=np.int64)
    counts[[100, 101]] = 500
    table = display_values(header(), counts=counts)
    assert table[100] == 0 and table[101] == 65535


def test_all_windows_are_kept_and_the_first_is_applied() -> None:
    display = derive_display(header(WindowCenter=[2000, 1500], WindowWidth=[3000, 500]), RANGE, EVEN)
    assert (display.center, display.width) == (2000, 3000)
    assert display.windows == [(2000, 3000), (1500, 500)]


@pytest.mark.parametrize(("slope", "intercept"), [(0, 5), (1e308, 1e308)])
def test_rescale_that_destroys_the_values_is_ignored(slope: float, intercept: float) -> None:
    display = derive_display(header(RescaleSlope=slope, RescaleIntercept=intercept), RANGE, EVEN)
    assert (display.slope, display.intercept) == (1, 0)


@pytest.mark.parametrize("declared", [8, 12, 16])
def test_lookup_table_of_8_bits_is_read_packed_and_unpacked(declared: int) -> None:
    entries = np.arange(256, dtype=np.uint8)[::-1].copy()
    item = lut(entries, first=1000, bits=declared)
    loose = lut(entries.astype("<u2"), first=1000, bits=declared)
    as_numbers = Dataset()
    as_numbers.LUTDescriptor = [256, 1000, declared]
    as_numbers.add_new(0x00283006, "US", entries.view("<u2").tolist())
    counts = EVEN * 0
    counts[1000:1256] = 1
    tables = [display_values(header(VOILUTSequence=[one]), counts=counts) for one in (item, loose, as_numbers)]
    assert tables[0][1000] == 65535 and tables[0][999] == 65535  # clamped below
    assert tables[0][1255] == 0 and tables[0][4095] == 0  # and above
    assert tables[0][1100] == round(155 / 255 * 65535)
    assert all(np.array_equal(tables[0], table) for table in tables[1:])


def test_lookup_table_declared_too_wide_is_not_shown_dark() -> None:
    entries = np.linspace(0, 4095, 4096).astype("<u2")
    table = display_values(header(VOILUTSequence=[lut(entries, bits=16)]))
    assert table[4095] == 65535


def test_first_mapped_value_is_signed_where_the_values_are() -> None:
    entries = np.linspace(0, 65535, 4096).astype("<u2")
    signed = ValueRange(12, offset=2048)
    for first in (-2048, 65536 - 2048):
        item = lut(entries, first=first, signed=first < 0)
        assert np.array_equal(display_table(derive_display(header(VOILUTSequence=[item]), signed, EVEN)), entries)


def test_lookup_table_of_a_big_endian_file(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    item = lut(curve().astype(">u2"), first=500)
    write_film(path, values=VALUES, VOILUTSequence=[item], transfer_syntax=ExplicitVRBigEndian)
    little = display_values(header(VOILUTSequence=[lut(curve(), first=500)]))
    assert np.array_equal(display_values(pydicom.dcmread(path)), little)


def test_damaged_lookup_table_is_replaced_by_the_window() -> None:
    window = {"WindowCenter": 2048, "WindowWidth": 3000}
    short, flat, nameless = lut(curve()[:20]), lut(np.zeros(300, "<u2")), Dataset()
    short.LUTDescriptor = [4096, 0, 16]
    for item in (short, flat, nameless):
        display = derive_display(header(VOILUTSequence=[item], **window), RANGE, EVEN)
        assert display.source == "window" and display.table is None


@pytest.mark.parametrize("garbage", ["", "abc", None, ["", ""], "1\\x"])
def test_invalid_header_values_are_ignored(garbage: Any) -> None:
    class Broken:
        def get(self, keyword: str) -> Any:
            if keyword == "RescaleSlope":
                raise ValueError("no number")
            return garbage

    assert derive_display(Broken(), RANGE, EVEN).source == "percentile"


def test_declared_range_is_the_identity() -> None:
    table = display_table(declared_range(ValueRange(8)))
    assert np.array_equal(table, np.arange(256) * 257)


def test_tables_survive_packing() -> None:
    generator = np.random.default_rng(0)
    for bits in (1, 8, 15):
        table = generator.integers(0, 65536, 2**bits).astype(np.uint16)
        assert np.array_equal(unpack_table(pack_table(table), bits), table)
    with pytest.raises(ValueError, match="2 entries"):
        unpack_table(pack_table(table), 1)
    with pytest.raises(ValueError):
        unpack_table("AAAA", 15)


def test_packed_table_displays_the_same_as_the_formula() -> None:
    entries = np.arange(4096, dtype="<u2")
    window = {"WindowCenter": 1500, "WindowWidth": 1234, "PhotometricInterpretation": "MONOCHROME1"}
    with_table = derive_display(header(ModalityLUTSequence=[lut(entries)], **window), RANGE, EVEN)
    assert with_table.table is not None
    assert np.array_equal(display_table(with_table), display_values(header(**window)))


def test_equal_displays_share_one_read_only_table() -> None:
    made = header(WindowCenter=2000, WindowWidth=3000)
    first, second = (display_table(derive_display(made, RANGE, EVEN)) for _ in range(2))
    assert first is second
    with pytest.raises(ValueError):
        first[0] = 1
    assert np.array_equal(apply_display(VALUES, derive_display(made, RANGE, EVEN)), first[VALUES])


def test_windowed_displays_rise_with_the_value() -> None:
    for center, width, function in itertools.product((500, 2000), (100, 4000), ("LINEAR", "LINEAR_EXACT", "SIGMOID")):
        table = display_values(header(WindowCenter=center, WindowWidth=width, VOILUTFunction=function))
        assert (np.diff(table.astype(int)) >= 0).all()


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": "1e300", "WindowWidth": "1e305"},
        {"WindowCenter": "100", "WindowWidth": "1e14"},
        {"WindowCenter": ["100"] * 5000, "WindowWidth": ["200"] * 5000},
        {"WindowCenter": ["1000", "1e300"], "WindowWidth": ["2000", "1"]},
        {"RescaleSlope": "1", "RescaleIntercept": "1e15"},
        {"RescaleSlope": "1e300", "RescaleIntercept": "0"},
    ],
)
def test_numbers_that_the_audit_would_refuse_are_left_out(attributes: dict[str, Any]) -> None:
    display = derive_display(header(**attributes), RANGE, EVEN)
    assert list(display_problems(display)) == []
    assert abs(int(display_table(display)[-1]) - int(display_table(display)[0])) > 10_000
