"""Bits above Bits Stored are removed where they are drawn, and kept where the values carry into them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from data_prep.dicom.stored_bits import place_bits


def _film(bits: int) -> NDArray[np.uint16]:
    """A bright bump with noise that uses all bits."""
    y, x = np.mgrid[:96, :80]
    bump = 0.1 + 0.8 * np.exp(-(((x - 40) / 20) ** 2) - ((y - 48) / 32) ** 2)
    noise = np.random.default_rng(bits).normal(0, 0.01, bump.shape)
    return np.asarray(np.clip((bump + noise) * 2**bits, 1, 2**bits - 2), np.uint16)


def _text() -> NDArray[np.uint16]:
    letters = np.zeros((96, 80), np.uint16)
    letters[20:30, 15:20] = letters[20:22, 15:30] = letters[50:70, 40:42] = 1
    return letters


def _header(bits: int = 12, signed: bool = False, high_bit: int | None = None) -> Dataset:
    header = Dataset()
    header.BitsStored, header.PixelRepresentation = bits, int(signed)
    header.HighBit = bits - 1 if high_bit is None else high_bit
    return header


def _with_overlay(header: Dataset, position: int | None, data: bytes | None = None) -> Dataset:
    for element, vr, value in ((0x0010, "US", 96), (0x0011, "US", 80), (0x0040, "CS", "G"), (0x0100, "US", 16)):
        header.add_new(Tag(0x6000, element), vr, value)
    if position is not None:
        header.add_new(Tag(0x6000, 0x0102), "US", position)
    if data is not None:
        header.add_new(Tag(0x6000, 0x3000), "OW", data)
    return header


@pytest.mark.parametrize("bit", [12, 13, 14, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_text_in_a_bit_above_is_removed_without_an_overlay_in_the_header(bit: int, signed: bool) -> None:
    film = _film(12) >> int(signed)
    values, bits, notes = place_bits(film | _text() << bit, _header(signed=signed))
    assert np.array_equal(values, film) and bits == 12 and notes == ["overlay_removed"]


def test_text_above_eight_bits_is_removed() -> None:
    values, bits, notes = place_bits(_film(8) | _text() << 14, _header(8))
    assert np.array_equal(values, _film(8)) and bits == 8 and notes == ["overlay_removed"]


@pytest.mark.parametrize("bits", [13, 14, 15, 16])
def test_values_that_carry_into_the_bits_above_are_kept(bits: int) -> None:
    values, found, notes = place_bits(_film(bits), _header(12))
    assert np.array_equal(values, _film(bits)) and found == bits and notes == ["bits_widened"]


def test_text_above_values_that_carry_is_removed_and_they_are_kept() -> None:
    values, bits, _ = place_bits(_film(13) | _text() << 15, _header(12))
    assert np.array_equal(values, _film(13)) and bits == 13


def test_signed_values_that_need_more_bits_are_kept() -> None:
    film = (_film(14).astype(np.int32) - 2**13).astype(np.int16)
    values, bits, notes = place_bits(film, _header(12, signed=True))
    assert np.array_equal(values, film) and bits == 14 and notes == ["bits_widened"]


@pytest.mark.parametrize(("position", "data"), [(12, None), (None, None), (12, b"")])
def test_an_overlay_that_the_header_only_hints_at_is_removed(position: int | None, data: bytes | None) -> None:
    header = _with_overlay(_header(), position, data)
    values, bits, notes = place_bits(_film(12) | _text() << 12, header)
    assert np.array_equal(values, _film(12)) and bits == 12 and notes == ["overlay_removed"]


def test_an_overlay_with_data_of_its_own_leaves_the_bits_alone() -> None:
    values, bits, _ = place_bits(_film(13), _with_overlay(_header(12), 0, b"\\1\\2"))
    assert np.array_equal(values, _film(13)) and bits == 13


@pytest.mark.parametrize("described", [True, False])
def test_an_overlay_below_a_dark_film_is_shifted_out(described: bool) -> None:
    dark = _film(12) >> 5
    header: Any = _header(12, high_bit=15)
    header = _with_overlay(header, 0) if described else header
    values, _, notes = place_bits(dark << 4 | _text(), header)
    assert np.array_equal(values, dark) and notes == ["bits_moved"]


def test_a_high_bit_that_the_values_contradict_is_ignored() -> None:
    values, _, notes = place_bits(_film(12), _header(12, high_bit=15))
    assert np.array_equal(values, _film(12)) and notes == ["high_bit_ignored"]
