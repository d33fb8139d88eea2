"""Every random choice of the archive: pure, cheap, and apart from drawing pictures.

Each choice has its own counted stream of (seed, patient, study, film, purpose), so labels cannot depend on the scanner,
the marker or the body part, and a patient is the same whoever draws it and in whatever order.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np

from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.imaging.scanners import LOOKS

VIEWS = {"HAND": ("PA", "OBLIQUE"), "WRIST": ("AP", "LAT"), "KNEE": ("AP", "LAT"), "CHEST": ("PA", "LAT")}
OBJECT_KINDS = ("screw", "plate", "pin", "ring", "coin", "tube", "wire", "electrode", "clip", "fragment")

PREVALENCE = 0.35
"""Of either label, per film."""
OBJECT_SIZE = (4.0, 40.0)
FRACTURE_SIZE = (6.0, 60.0)
"""Longest side of the box in pixels of the film at training size T = 1024 (``planted_findings``)."""
CONTRAST_TO_NOISE = (1.5, 6.0)

BROKEN_SHARE = 0.01
"""Of the films, for each kind of broken file; and at least one file of each kind per archive."""


class Broken(IntEnum):
    """What else lies in an archive."""

    TRUNCATED = 0
    EMPTY_FILE = 1
    TEXT_FILE = 2
    REPORT = 3
    SCREENSHOT = 4
    DUPLICATE = 5
    FOR_PROCESSING = 6


@dataclass(frozen=True)
class FindingDraw:
    """One thing to plant. ``size`` is in pixels at T = 1024; places are fractions of what the film offers."""

    kind: str
    size: float
    contrast_to_noise: float
    place: float
    angle: float
    seed: int


@dataclass(frozen=True)
class FilmDraw:
    """One exposure.

    Attributes:
        index: within the study.
        rotation: in the plane, radians. obliquity: about the long axis, radians.
        shift: of the body, fractions of the field. zoom: mm on the film per mm.
        exposure: quanta against the look's usual number.
        margins: left, top, right, bottom of the field from the film's edge, fractions; None is not collimated.
        marker: None, or the lead letter's corner (0 … 3), height in mm and turn in radians.
    """

    index: int
    view: str
    rotation: float
    obliquity: float
    shift: tuple[float, float]
    zoom: float
    exposure: float
    margins: tuple[float, float, float, float] | None
    field_turn: float
    marker: tuple[int, float, float] | None
    inverted: bool
    syntax: int
    objects: tuple[FindingDraw, ...]
    fracture: FindingDraw | None
    broken: tuple[Broken, ...]
    seed: int

    def with_contrast(self, factor: float) -> "FilmDraw":
        """The same exposure and draws, but for the contrast that findings are meant to have: times ``factor``."""
        objects = tuple(replace(one, contrast_to_noise=factor * one.contrast_to_noise) for one in self.objects)
        crack = self.fracture
        crack = replace(crack, contrast_to_noise=factor * crack.contrast_to_noise) if crack else None
        return replace(self, objects=objects, fracture=crack)


@dataclass(frozen=True)
class StudyDraw:
    """One visit: one body part on one scanner. ``day`` counts from the archive's first day."""

    index: int
    body_part: str
    side: Literal["L", "R"]
    look: int
    day: int
    films: tuple[FilmDraw, ...]


@dataclass(frozen=True)
class PatientDraw:
    """One person; ``archive`` is the seed of the archive."""

    archive: int
    index: int
    anatomy: Anatomy
    studies: tuple[StudyDraw, ...]


class _Purpose(IntEnum):
    BODY = 0
    STUDY = 1
    LOOK = 2
    POSITION = 3
    FIELD = 4
    MARKER = 5
    STORAGE = 6
    OBJECT = 7
    FRACTURE = 8
    BROKEN = 9
    NOISE = 10


def draw_patient(seed: int, index: int, patients: int) -> PatientDraw:
    """Everything about patient ``index`` of an archive of ``patients``."""
    body = _stream(seed, index, _Purpose.BODY)
    studies = int(body.choice(3, p=(0.5, 0.3, 0.2))) + 1
    anatomy = _anatomy(body)
    day = int(body.integers(0, 2500))
    drawn = []
    for k in range(studies):
        drawn.append(_study(seed, index, k, day, patients))
        day += int(body.integers(1, 400))
    return PatientDraw(seed, index, anatomy, tuple(drawn))


def _anatomy(draw: np.random.Generator) -> Anatomy:
    child = draw.random() < 0.16
    age = int(draw.integers(6, 17)) if child else int(np.clip(draw.normal(52, 18), 18, 95))
    sex = "F" if draw.random() < 0.5 else "M"
    grown = 0.62 + 0.38 * min((age - 5) / 12, 1.0)
    size = grown * (0.93 if sex == "F" and age > 13 else 1.0) * float(np.clip(draw.normal(1, 0.05), 0.88, 1.12))
    loss = max(age - 45, 0) * (0.011 if sex == "F" else 0.007)
    density = float(np.clip((1 - loss) * draw.normal(1, 0.08) * (0.75 + 0.25 * min(age / 18, 1)), 0.4, 1.2))
    flesh = float(np.clip(draw.lognormal(0.0, 0.18) * (0.9 if child else 1.0), 0.7, 1.5))
    return Anatomy(age, sex, size, density, flesh, int(draw.integers(2**31)))


def _study(seed: int, patient: int, index: int, day: int, patients: int) -> StudyDraw:
    draw = _stream(seed, patient, _Purpose.STUDY, index)
    look = int(_stream(seed, patient, _Purpose.LOOK, index).integers(len(LOOKS)))
    body_part = str(draw.choice(list(VIEWS)))
    side: Literal["L", "R"] = "L" if draw.random() < 0.5 else "R"
    both = VIEWS[body_part]
    views = list(both) if draw.random() < 0.9 else [str(draw.choice(both))]
    if draw.random() < 0.12:
        views.append(str(draw.choice(views)))  # a repeated exposure
    films = tuple(_film(seed, (patient, index, k), view, body_part, look, patients) for k, view in enumerate(views))
    return StudyDraw(index, body_part, side, look, day, films)


def _film(seed: int, path: tuple[int, int, int], view: str, body_part: str, look: int, patients: int) -> FilmDraw:
    patient, study, index = path
    position = _stream(seed, patient, _Purpose.POSITION, study, index)
    loose = 0.35 if body_part == "CHEST" else 1.0
    storage = _stream(seed, patient, _Purpose.STORAGE, study, index)
    return FilmDraw(
        index=index,
        view=view,
        rotation=float(np.clip(position.normal(0, 0.07 * loose), -0.2, 0.2)),
        obliquity=float(np.clip(position.normal(0, 0.07 * loose), -0.2, 0.2)),
        shift=(float(position.normal(0, 0.02)), float(position.normal(0, 0.02))),
        zoom=float(position.uniform(0.93, 1.06)),
        exposure=float(position.lognormal(0, 0.25)),
        margins=_margins(_stream(seed, patient, _Purpose.FIELD, study, index)),
        field_turn=float(_stream(seed, patient, _Purpose.FIELD, study, index, 1).normal(0, 0.012)),
        marker=_marker(_stream(seed, patient, _Purpose.MARKER, study, index)),
        inverted=bool(storage.random() < LOOKS[look].inverted_share),
        syntax=int(storage.integers(len(LOOKS[look].syntaxes))),
        objects=draw_objects(_stream(seed, patient, _Purpose.OBJECT, study, index)),
        fracture=draw_fracture(_stream(seed, patient, _Purpose.FRACTURE, study, index)),
        broken=_broken(seed, path, patients),
        seed=int(_stream(seed, patient, _Purpose.NOISE, study, index).integers(2**31)),
    )


def draw_objects(draw: np.random.Generator) -> tuple[FindingDraw, ...]:
    """No foreign object, or one, seldom two."""
    if draw.random() >= PREVALENCE:
        return ()
    count = 2 if draw.random() < 0.2 else 1
    return tuple(_finding(draw, str(draw.choice(OBJECT_KINDS)), OBJECT_SIZE) for _ in range(count))


def draw_fracture(draw: np.random.Generator) -> FindingDraw | None:
    """No fracture, or one."""
    return _finding(draw, "fracture", FRACTURE_SIZE) if draw.random() < PREVALENCE else None


def _finding(draw: np.random.Generator, kind: str, sizes: tuple[float, float]) -> FindingDraw:
    """Sizes are spread evenly in their logarithm, contrast evenly."""
    return FindingDraw(
        kind=kind,
        size=float(np.exp(draw.uniform(np.log(sizes[0]), np.log(sizes[1])))),
        contrast_to_noise=float(draw.uniform(*CONTRAST_TO_NOISE)),
        place=float(draw.random()),
        angle=float(draw.uniform(-np.pi, np.pi)),
        seed=int(draw.integers(2**31)),
    )


def _margins(draw: np.random.Generator) -> tuple[float, float, float, float] | None:
    if draw.random() < 0.2:
        return None
    left, top, right, bottom = (float(v) for v in draw.uniform(0.004, 0.11, 4))
    return left, top, right, bottom


def _marker(draw: np.random.Generator) -> tuple[int, float, float] | None:
    if draw.random() < 0.08:
        return None
    return int(draw.integers(4)), float(draw.uniform(0.035, 0.06)), float(draw.normal(0, 0.12))


def _broken(seed: int, path: tuple[int, int, int], patients: int) -> tuple[Broken, ...]:
    """Kind k also goes with the first film of patient k (counted round), so that every archive has each kind."""
    patient, study, film = path
    draw = _stream(seed, patient, _Purpose.BROKEN, study, film).random(len(Broken))
    first = study == film == 0
    return tuple(kind for kind in Broken if draw[kind] < BROKEN_SHARE or (first and kind % patients == patient))


def _stream(seed: int, patient: int, purpose: _Purpose, *path: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(patient, purpose, *path))))
