"""Synthetic films: geometry, difficulty, and labels that are independent of other choices."""

from collections import defaultdict
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.phantom.difficulty import HARD
from data_prep.phantom.foreign_objects import draw_object
from data_prep.phantom.imaging.projection import Beam, about_y
from data_prep.phantom.imaging.scanners import SCANNERS
from data_prep.phantom.imaging.solids import Ellipsoid, Shaft, Station, Tube, box_axes
from data_prep.phantom.planted_findings import Planted
from data_prep.phantom.random_draws import (
    OBJECT_KINDS,
    PREVALENCE,
    VIEWS,
    FilmDraw,
    PatientDraw,
    StudyDraw,
    draw_patient,
)
from data_prep.phantom.render_film import RenderedFilm, render
from mae_rad.data.patch_layout import Region, film_layout

LONG_SIDE = 520
Case = tuple[PatientDraw, StudyDraw, FilmDraw]


@lru_cache
def cases() -> list[Case]:
    """All films of many patients, without rendering."""
    patients = (draw_patient(5, index, 1500) for index in range(1500))
    return [(patient, study, film) for patient in patients for study in patient.studies for film in study.films]


@lru_cache
def planted(kind: str) -> list[tuple[RenderedFilm, RenderedFilm, Planted]]:
    """Films with one finding of this kind, the same without it, and the finding; of each body part and view."""
    found: dict[tuple[str, str], list[tuple[RenderedFilm, RenderedFilm, Planted]]] = defaultdict(list)
    for patient, study, film in cases():
        place = (study.body_part, film.view)
        if (film.objects if kind == "object" else film.fracture) and len(found[place]) < 2:
            draw = (
                replace(film, objects=film.objects[:1], fracture=None)
                if kind == "object"
                else replace(film, objects=())
            )
            with_it = render(patient.anatomy, study, draw, long_side=LONG_SIDE)
            without = render(patient.anatomy, study, replace(draw, objects=(), fracture=None), long_side=LONG_SIDE)
            finding = with_it.objects[0] if kind == "object" else with_it.fracture
            assert finding is not None
            found[place].append((with_it, without, finding))
    return [case for group in found.values() for case in group]


def content_scale(film: RenderedFilm) -> float:
    """Pixels at T = 1024 per source pixel, by the layout that training uses."""
    rows, columns = np.flatnonzero(film.body.any(axis=1)), np.flatnonzero(film.body.any(axis=0))
    box = Region(rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
    layout = film_layout(*film.body.shape, box, 1024, 16)
    return float(np.sqrt(np.prod(layout.grid)) * 16 / np.sqrt(film.body.size))


@pytest.mark.parametrize("kind", ["object", "fracture"])
def test_boxes_lie_in_the_film_around_what_was_planted(kind: str) -> None:
    for with_it, without, finding in planted(kind):
        x_min, y_min, x_max, y_max = finding.box
        assert 0 <= x_min < x_max <= with_it.stored.shape[1] and 0 <= y_min < y_max <= with_it.stored.shape[0]
        change = cv2.GaussianBlur(np.abs(with_it.log_film - without.log_film), (0, 0), 1.0)
        rows, columns = np.nonzero(change > 0.6 * change.max())
        assert x_min - 2 <= columns.min() and columns.max() <= x_max + 2
        assert y_min - 2 <= rows.min() and rows.max() <= y_max + 2


@pytest.mark.parametrize(("kind", "sizes"), [("object", HARD.object_size), ("fracture", HARD.fracture_size)])
def test_sizes_are_in_the_promised_range_at_1024_tokens(kind: str, sizes: tuple[float, float]) -> None:
    for with_it, _, finding in planted(kind):
        longest = max(finding.box[2] - finding.box[0], finding.box[3] - finding.box[1])
        assert finding.size == pytest.approx(longest * with_it.scale)
        assert sizes[0] - 1e-6 <= finding.size <= sizes[1] + 1e-6
        assert with_it.scale == pytest.approx(content_scale(with_it), rel=0.04)


@pytest.mark.parametrize("kind", ["object", "fracture"])
def test_contrast_is_in_the_promised_range_and_measurable_in_the_film(kind: str) -> None:
    ratios = []
    for with_it, without, finding in planted(kind):
        assert HARD.contrast_to_noise[0] - 0.01 <= finding.contrast_to_noise <= HARD.contrast_to_noise[1] + 0.01
        ratios.append(measured_contrast(with_it, without, finding) / finding.contrast_to_noise)
    assert 0.6 < np.median(ratios) < 1.6  # another mask and another draw of the noise than where it was set
    assert np.mean((np.array(ratios) > 0.4) & (np.array(ratios) < 2.5)) > 0.85


def measured_contrast(with_it: RenderedFilm, without: RenderedFilm, finding: Planted) -> float:
    """From the two noisy films alone, at T = 1024: the change where it is large against the noise around."""
    margin = 12 / with_it.scale
    x_min, y_min, x_max, y_max = finding.box
    cut = (
        slice(max(int(y_min - margin), 0), int(y_max + margin)),
        slice(max(int(x_min - margin), 0), int(x_max + margin)),
    )
    resize = {"dsize": None, "fx": with_it.scale, "fy": with_it.scale, "interpolation": cv2.INTER_AREA}
    if with_it.scale > 1:
        resize["interpolation"] = cv2.INTER_LINEAR
    before, after = (cv2.resize(film.log_film[cut], **resize) for film in (without, with_it))
    change = np.abs(after - before)
    rest = before - cv2.GaussianBlur(before, (0, 0), 2.0)
    noise = 1.4826 * np.median(np.abs(rest - np.median(rest)))
    return float(change[change > 0.4 * change.max()].mean() / noise)


def test_prevalence_does_not_depend_on_anything_else() -> None:
    for label in ("object", "fracture"):
        groups: dict[tuple[str, object], list[bool]] = defaultdict(list)
        for patient, study, film in cases():
            present = bool(film.objects) if label == "object" else film.fracture is not None
            factors = {
                "all": True,
                "body part": study.body_part,
                "view": (study.body_part, film.view),
                "scanner": study.look,
                "side": study.side,
                "marker": film.marker is not None,
                "collimation": film.margins is not None,
                "polarity": film.inverted,
                "syntax": (study.look, film.syntax),
                "sex": patient.anatomy.sex,
                "old": patient.anatomy.age_years > 60,
                "the other label": film.fracture is not None if label == "object" else bool(film.objects),
                "broken companion": bool(film.broken),
            }
            for name, value in factors.items():
                groups[name, value].append(present)
        for group, present in groups.items():
            spread = np.sqrt(PREVALENCE * (1 - PREVALENCE) / len(present))
            assert abs(np.mean(present) - PREVALENCE) < 4 * spread, (label, group)


def test_every_documented_choice_occurs() -> None:
    drawn = cases()
    assert {(study.body_part, film.view) for _, study, film in drawn} == {
        (p, v) for p, both in VIEWS.items() for v in both
    }
    assert {study.look for _, study, _ in drawn} == set(range(len(SCANNERS)))
    assert {film.inverted for _, _, film in drawn} == {True, False}
    assert {finding.kind for _, _, film in drawn for finding in film.objects} == set(OBJECT_KINDS)
    assert {len(patient.studies) for patient, _, _ in drawn} == {1, 2, 3}
    assert {look.bits for look in SCANNERS} == {10, 12, 14}
    assert {look.modality for look in SCANNERS} == {"CR", "DX"}
    assert {look.function for look in SCANNERS} == {"LINEAR", "SIGMOID"}
    assert len({syntax for look in SCANNERS for syntax in look.syntaxes}) >= 3


def test_a_patient_is_the_same_in_a_larger_archive() -> None:
    few, many = draw_patient(3, 8, 100), draw_patient(3, 8, 10_000)
    assert few.anatomy == many.anatomy and few.studies == many.studies


def displayed(film: RenderedFilm, study: StudyDraw, draw: FilmDraw) -> NDArray[np.float64]:
    """Display by PS3.3 C.11.1 and C.11.2, written out."""
    look = SCANNERS[study.look]
    x = film.stored.astype(np.float64) * look.slope + look.intercept
    centre, width = film.window
    if look.function == "LINEAR":
        y = np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    else:
        y = 1 / (1 + np.exp(-4 * (x - centre) / width))
    return 1 - y if draw.inverted else y


@pytest.mark.parametrize("look", range(len(SCANNERS)))
@pytest.mark.parametrize("inverted", [False, True])
def test_bone_is_bright_on_dark_whatever_is_stored(look: int, inverted: bool) -> None:
    patient, study, film = next(case for case in cases() if case[1].body_part == "HAND" and case[2].marker is None)
    study, film = replace(study, look=look), replace(film, inverted=inverted, margins=None, objects=(), fracture=None)
    drawn = render(patient.anatomy, study, film, long_side=LONG_SIDE)
    display_values = displayed(drawn, study, film)
    assert drawn.stored.max() < 2 ** SCANNERS[look].bits
    air, flesh = display_values[~drawn.body], display_values[drawn.body]
    assert np.median(air) < 0.2
    assert np.percentile(flesh, 95) > np.median(air) + 0.2
    densest = drawn.log_film[drawn.body] > np.percentile(drawn.log_film[drawn.body], 97)
    assert np.median(flesh[densest]) > 0.7
    assert np.mean((flesh > 0.02) & (flesh < 0.98)) > 0.85  # the window shows the body and clips little of it


def test_a_marker_is_the_only_difference_that_a_marker_makes() -> None:
    patient, study, film = next(case for case in cases() if case[1].body_part == "KNEE" and case[2].marker)
    marked, bare = (
        render(patient.anatomy, study, draw, long_side=LONG_SIDE) for draw in (film, replace(film, marker=None))
    )
    changed = np.abs(marked.log_film - bare.log_film) > 0.5
    assert 0 < changed.mean() < 0.02
    assert (marked.objects, marked.fracture) == (bare.objects, bare.fracture)


@pytest.mark.parametrize("kind", OBJECT_KINDS)
@pytest.mark.parametrize("size", [4, 23, 80])
def test_an_object_fills_its_raster_and_no_more(kind: str, size: int) -> None:
    shape = draw_object(kind, size, 0.7, np.random.default_rng(1))
    assert max(shape.shape) == size
    assert shape.min() >= 0 and 0.2 < shape.max() <= 1
    edges = (shape[0], shape[-1], shape[:, 0], shape[:, -1])
    assert sum(bool(edge.max() > 0) for edge in edges) >= 3


def grid(size: int) -> NDArray[np.float32]:
    return np.arange(size, dtype=np.float32)


def test_chords_agree_with_a_count_of_voxels() -> None:
    beam = Beam(about_y(0.6), 0.3, 1.0, (40.0, 40.0))
    axes = box_axes(22, 13, 9, tilt=0.4)
    chord = Ellipsoid(np.zeros(3), axes).chord(beam, grid(80), grid(80))
    step = 0.5
    z = np.arange(-30, 30, step)
    x, y = np.meshgrid(np.arange(80) - 40.0, 40.0 - np.arange(80))
    points = np.stack(np.broadcast_arrays(x[..., None], y[..., None], z), axis=-1) @ beam.turn  # film → body
    scaled = points @ (axes / np.linalg.norm(axes, axis=1, keepdims=True) ** 2).T
    counted = ((scaled**2).sum(axis=-1) <= 1).sum(axis=-1) * step
    assert np.abs(chord - counted).max() < 2 * step + 0.6


def test_the_chord_of_a_tilted_cylinder_is_longer() -> None:
    stations = (Station(0, 6, 6), Station(1, 6, 6))
    cylinder = Shaft(np.array([0, -30, 0.0]), np.array([0, 30, 0.0]), stations, caps=(0.1, 0.1))
    tilted = replace(cylinder, start=np.array([0, -30, -30.0]), end=np.array([0, 30, 30.0]))
    beam = Beam(np.eye(3), 0.0, 2.0, (50.0, 80.0))
    middles = [body.chord(beam, grid(100), grid(160))[80] for body in (cylinder, tilted)]
    assert middles[0].max() == pytest.approx(12, rel=0.01)
    assert middles[1].max() == pytest.approx(12 * np.sqrt(2), rel=0.01)
    offset = (np.arange(100) - 50.0) / 2
    assert middles[0] == pytest.approx(2 * np.sqrt(np.maximum(36 - offset**2, 0)), abs=0.05)


def test_a_straight_tube_is_a_cylinder() -> None:
    tube = Tube(np.array([(0, -30, 0), (0, 0, 0), (0, 30, 0.0)]), np.full(3, 6.0))
    chord = tube.chord(Beam(np.eye(3), 0.0, 2.0, (50.0, 80.0)), grid(100), grid(160))
    offset = (np.arange(100) - 50.0) / 2
    assert chord[80] == pytest.approx(2 * np.sqrt(np.maximum(36 - offset**2, 0)), abs=1e-3)
    assert chord[5].max() == 0
