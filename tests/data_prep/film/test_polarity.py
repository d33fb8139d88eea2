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
KNOWN_INVERTED = frozenset((
    "0025d3a3", "0398b3d7", "042f9ef1", "1b2ec031", "3025167e", "328a6c16", "3e419917", "4129a25a", "471f4c12",
    "4cc7eec8", "5661a099", "60708ec8", "60d01f41", "66b6d614", "6e3cbfb0", "76087ca1", "77825489", "8066a9c8",
    "9643fbb5", "965f5bfe", "9e17ffe2", "a1292dd5", "abe59cd2", "ae1b839f", "b63ac9f2", "b756c2fd", "b7abd3d0",
    "bea439d4", "c0646701", "c5a2f62a", "d04c2071", "d0add82f", "da3a47f0", "da8bbef3", "e0cecbd7", "e200e6b8",
    "eae98f72", "ecc0b07c", "fa169dd7",
))  # fmt: skip
"""Limb films of that collection with dark bone, by visual inspection: first digits of the checksum in their names."""
MAX_OTHERS = 6


@pytest.fixture(scope="module")
def films() -> list[BorderedFilm]:
    return list(bordered_films(1, 256, seed=3))


def test_correct_synthetic_films_are_rarely_suspect(films: list[BorderedFilm]) -> None:
    assert sum(polarity_suspect(film.shown) for film in films) <= 1


def test_most_inverted_films_are_suspect(films: list[BorderedFilm]) -> None:
    assert sum(polarity_suspect(65535 - film.shown) for film in films) > len(films) * 0.75


def test_evidence_of_most_films_changes_sign_with_polarity(films: list[BorderedFilm]) -> None:
    sides = [polarity_evidence(film.shown) < polarity_evidence(65535 - film.shown) for film in films]
    assert np.mean(sides) > 0.95


def test_evidence_of_a_film_and_of_its_inverted_copy_are_opposite(films: list[BorderedFilm]) -> None:
    for film in films[:6]:
        assert polarity_evidence(65535 - film.shown) == pytest.approx(-polarity_evidence(film.shown), abs=0.3)


def test_a_white_collimator_is_no_sign_of_inversion(films: list[BorderedFilm]) -> None:
    framed = [np.pad(film.shown, 40, constant_values=60000) for film in films if film.border == "black"]
    assert sum(map(polarity_suspect, framed)) <= 1
    assert sum(polarity_suspect(65535 - film) for film in framed) > len(framed) * 0.75


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
    pictures = [name for name in suspected if not name.endswith(".dcm")]
    inverted = {name.split(".rf.")[1][:8] for name in pictures if ".rf." in name} & KNOWN_INVERTED
    assert len(inverted) >= 30 and len(pictures) - len(inverted) <= MAX_OTHERS, sorted(pictures)
