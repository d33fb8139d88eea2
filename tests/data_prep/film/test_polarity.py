"""Suspicion of inverted polarity: rare for correct films, frequent for inverted ones."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from data_prep.errors import FilmReject
from data_prep.film.decode import decode
from data_prep.film.header_display_settings import declared_range, derive_display
from data_prep.film.polarity import polarity_evidence, polarity_suspect
from data_prep.film.shard_values import to_shard_values, value_range
from data_prep.shard_format.apply_display import apply_display
from mae_rad.bench.sharding.bordered_films import BorderedFilm, bordered_films

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs"
KNOWN_INVERTED = ("image1_23_", "image1_111_", "image1_164_", "image1_404_", "image1_475_", "image1_548_",
    "image1_642_", "image1_1074_", "image2_698_", "image1_736_", "image2_1211_", "image1_511_",
    "image1_140_", "image1_321_", "image1_481_")  # fmt: skip
"""Limb films of that collection with dark bone, by visual inspection."""
KNOWN_WRONG = ("00003176_001", "image1_270_")
"""Correct films that are suspect: a chest within white paper, a faint forearm."""


@pytest.fixture(scope="module")
def films() -> list[BorderedFilm]:
    return list(bordered_films(1, 256, seed=3))


def test_correct_synthetic_films_are_rarely_suspect(films: list[BorderedFilm]) -> None:
    assert sum(polarity_suspect(film.shown) for film in films) <= 1


def test_many_inverted_films_are_suspect(films: list[BorderedFilm]) -> None:
    assert sum(polarity_suspect(65535 - film.shown) for film in films) > len(films) * 0.4


def test_evidence_of_most_films_changes_sign_with_polarity(films: list[BorderedFilm]) -> None:
    sides = [polarity_evidence(film.shown) < polarity_evidence(65535 - film.shown) for film in films]
    assert np.mean(sides) > 0.85


@pytest.mark.parametrize("value", [0, 9000, 65535])
def test_uniform_film_is_not_suspect(value: int) -> None:
    assert not polarity_suspect(np.full((40, 2000), value, dtype=np.uint16))


def test_brightness_and_contrast_of_the_whole_film_do_not_matter(films: list[BorderedFilm]) -> None:
    for film in films[:6]:
        dim = (film.shown // 4 + 9000).astype(np.uint16)
        assert polarity_evidence(dim) == pytest.approx(polarity_evidence(film.shown), abs=0.05)


def _shown(path: Path) -> NDArray[np.uint16]:
    data, source, syntax = path.read_bytes(), "dicom", None
    if path.suffix in (".jpg", ".jpeg", ".png"):
        source = "png" if data.startswith(b"\x89PNG") else "jpeg"
    else:
        syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    film = decode(data, source=source, transfer_syntax=syntax)
    values = value_range(film)
    full = to_shard_values(film, values)
    if film.header is None:
        return apply_display(full, declared_range(values))
    counts = np.bincount(film.visible(full), minlength=2**values.bits)
    displayed = apply_display(full, derive_display(film.header, values, counts))
    return cv2.resize(displayed, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real films are not next to the checkout")
def test_only_inverted_real_films_are_suspect() -> None:
    folders = ("misc", "wg04", "derived")
    dicom = sorted(path for name in folders for path in (REAL / "dicom" / name).rglob("*.dcm"))
    images = sorted((REAL / "chest-nih").rglob("*.png")) + sorted((REAL / "hand-bone-age").glob("*.png"))
    limbs = sorted((REAL / "upper-limb-fractures").rglob("*.jpg"))
    suspected = []
    for path in dicom + images + limbs:
        try:
            if polarity_suspect(_shown(path)):
                suspected.append(path.name)
        except FilmReject:
            continue
    assert [name for name in suspected if name.endswith(".dcm")] == ["cr_jpeg_baseline_wrongly_tagged_monochrome1.dcm"]
    assert [
        name for name in suspected if not name.endswith(".dcm") and not name.startswith(KNOWN_INVERTED + KNOWN_WRONG)
    ] == []
    assert len(suspected) >= 15
