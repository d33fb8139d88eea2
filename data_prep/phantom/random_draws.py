"""Draws every random choice of the archive, without rendering a film.

Each choice has its own random generator, seeded by (seed, patient, study, film, purpose). Therefore labels cannot
depend on the scanner, the marker or the body part, and a patient does not depend on the order of drawing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

import numpy as np

from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.difficulty import HARD, Confound, Difficulty, Range
from data_prep.phantom.graded_questions import PREVALENCE as GRADED_PREVALENCE
from data_prep.phantom.graded_questions import draw_graded, graded_labels, measure_film
from data_prep.phantom.imaging.scanners import SCANNERS, Look

VIEWS = {"HAND": ("PA", "OBLIQUE"), "WRIST": ("AP", "LAT"), "KNEE": ("AP", "LAT"), "CHEST": ("PA", "LAT")}
OBJECT_KINDS = ("screw", "plate", "pin", "ring", "coin", "tube", "wire", "electrode", "clip", "fragment")

PREVALENCE = 0.35
"""Probability of each label per film."""

CHILD_SHARE = 0.16
"""Probability of a child, whose growth plates are open, in an archive without graded questions."""
UNUSABLE_FILE_SHARE = 0.01
"""Number of unusable files of each kind per film; each archive has at least one of each kind."""


@dataclass(frozen=True)
class ArchiveKind:
    """What the films of an archive show, and its scanners.

    Attributes:
        views: body part → its views.
        scanners: scanners.
        in_turn: whether the first studies of the patients show the body parts in turn, so that each occurs.
    """

    views: Mapping[str, tuple[str, ...]]
    scanners: tuple[Look, ...]
    in_turn: bool = False


GENERAL = ArchiveKind(VIEWS, SCANNERS)


class UnusableFile(IntEnum):
    """Kind of an unusable file of an archive."""

    TRUNCATED = 0
    EMPTY_FILE = 1
    TEXT_FILE = 2
    REPORT = 3
    SCREENSHOT = 4
    DUPLICATE = 5
    FOR_PROCESSING = 6


@dataclass(frozen=True)
class FindingDraw:
    """Draw of one finding.

    Attributes:
        kind: kind of the object, or fracture.
        size: pixels at T = 1024.
        contrast_to_noise: wanted contrast-to-noise ratio.
        place: position, as a fraction of the free positions.
        angle: radians.
        seed: seed of the details.
    """

    kind: str
    size: float
    contrast_to_noise: float
    place: float
    angle: float
    seed: int


@dataclass(frozen=True)
class FilmDraw:
    """Draw of one film.

    Attributes:
        index: number of the film in the study.
        view: view of the body part, see VIEWS.
        rotation: rotation in the plane, radians.
        obliquity: rotation about the long axis, radians.
        shift: shift of the body (x, y), fractions of the field.
        zoom: mm on the film per mm.
        exposure: quanta relative to the usual number of the scanner.
        margins: left, top, right, bottom distance of the field from the edge of the film, fractions; None for a film
            without collimation.
        field_turn: rotation of the field, radians.
        marker: corner (0 … 3), height as a fraction of the longer side and rotation in radians of the side marker;
            None for no marker.
        inverted: whether the film is stored as MONOCHROME1.
        syntax: number of the transfer syntax of the scanner.
        objects: foreign objects.
        fracture: the fracture, if any.
        broken: unusable files that are written next to the film.
        seed: seed of the noise.
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
    broken: tuple[UnusableFile, ...]
    seed: int

    def with_contrast(self, factor: float) -> "FilmDraw":
        """Multiply the wanted contrast of all findings by ``factor``."""
        objects = tuple(
            replace(finding, contrast_to_noise=factor * finding.contrast_to_noise) for finding in self.objects
        )
        fracture = self.fracture
        fracture = replace(fracture, contrast_to_noise=factor * fracture.contrast_to_noise) if fracture else None
        return replace(self, objects=objects, fracture=fracture)


@dataclass(frozen=True)
class StudyDraw:
    """Draw of one study: one body part on one scanner.

    Attributes:
        index: number of the study of the patient.
        body_part: see VIEWS.
        side: side of the body.
        look: number of the scanner.
        day: counted from the first day of the archive.
        films: films of the study.
        scanners: scanners of the archive.
    """

    index: int
    body_part: str
    side: Literal["L", "R"]
    look: int
    day: int
    films: tuple[FilmDraw, ...]
    scanners: tuple[Look, ...] = SCANNERS

    @property
    def scanner(self) -> Look:
        """The scanner of the study."""
        return self.scanners[self.look]


@dataclass(frozen=True)
class PatientDraw:
    """Draw of one patient.

    Attributes:
        archive: seed of the archive.
        index: number of the patient.
        anatomy: anatomy of the patient.
        studies: studies of the patient.
    """

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
    SHARED = 11
    GRADED = 12
    CONFOUND = 13


def draw_patient(
    seed: int, index: int, patients: int, level: Difficulty = HARD, confound: Confound | None = None,
    kind: ArchiveKind = GENERAL,
) -> PatientDraw:  # fmt: skip
    """Draw a patient with all studies and films.

    Args:
        seed: seed of the archive.
        index: number of the patient.
        patients: number of patients of the archive.
        level: difficulty of the archive.
        confound: label that is more frequent on the first scanner.
        kind: what the films show, and the scanners.
    """
    body = _generator(seed, index, _Purpose.BODY)
    studies = int(body.choice(3, p=(0.5, 0.3, 0.2))) + 1
    anatomy = _draw_anatomy(body, GRADED_PREVALENCE if level.graded else CHILD_SHARE)
    if level.graded:
        anatomy = draw_graded(anatomy, level.graded, _generator(seed, index, _Purpose.GRADED))
    day = int(body.integers(0, 2500))
    drawn = []
    for k in range(studies):
        drawn.append(_draw_study(seed, (index, k), day, patients, anatomy, level, confound, kind))
        day += int(body.integers(1, 400))
    return PatientDraw(seed, index, anatomy, tuple(drawn))


def _draw_anatomy(draw: np.random.Generator, child_share: float) -> Anatomy:
    is_child = draw.random() < child_share
    age = int(draw.integers(6, 17)) if is_child else int(np.clip(draw.normal(52, 18), 18, 95))
    sex = "F" if draw.random() < 0.5 else "M"
    growth = 0.62 + 0.38 * min((age - 5) / 12, 1.0)
    size = growth * (0.93 if sex == "F" and age > 13 else 1.0) * float(np.clip(draw.normal(1, 0.05), 0.88, 1.12))
    bone_loss = max(age - 45, 0) * (0.011 if sex == "F" else 0.007)
    density = float(np.clip((1 - bone_loss) * draw.normal(1, 0.08) * (0.75 + 0.25 * min(age / 18, 1)), 0.4, 1.2))
    flesh = float(np.clip(draw.lognormal(0.0, 0.18) * (0.9 if is_child else 1.0), 0.7, 1.5))
    return Anatomy(age, sex, size, density, flesh, int(draw.integers(2**31)))


def _draw_study(
    seed: int, path: tuple[int, int], day: int, patients: int, anatomy: Anatomy, level: Difficulty,
    confound: Confound | None, kind: ArchiveKind,
) -> StudyDraw:  # fmt: skip
    patient, index = path
    draw = _generator(seed, patient, _Purpose.STUDY, index)
    body_part = str(draw.choice(list(kind.views)))
    if kind.in_turn and index == 0:
        body_part = list(kind.views)[patient % len(kind.views)]
    side: Literal["L", "R"] = "L" if draw.random() < 0.5 else "R"
    views_of_part = kind.views[body_part]
    views = list(views_of_part) if draw.random() < 0.9 else [str(draw.choice(views_of_part))]
    if draw.random() < 0.12:
        views.append(str(draw.choice(views)))  # a repeated exposure
    is_shared = _generator(seed, patient, _Purpose.SHARED, index).random() < level.shared_studies
    findings = [_draw_findings(seed, (patient, index, 0 if is_shared else k), level) for k in range(len(views))]
    labels = {
        "foreign_object": any(objects for objects, _ in findings),
        "fracture": any(fracture for _, fracture in findings),
    }
    for view in views:
        labels |= graded_labels(measure_film(anatomy, body_part, view))
    has_label = labels.get(confound.label) if confound else None
    look = _draw_scanner(seed, path, has_label, confound, len(kind.scanners))
    films = tuple(
        replace(
            _draw_film(seed, (patient, index, k), view, body_part, kind.scanners[look], patients),
            objects=objects,
            fracture=fracture,
        )
        for k, (view, (objects, fracture)) in enumerate(zip(views, findings, strict=True))
    )
    return StudyDraw(index, body_part, side, look, day, films, kind.scanners)


def _draw_scanner(
    seed: int, path: tuple[int, int], has_label: bool | None, confound: Confound | None, scanners: int
) -> int:
    """Draw the scanner of a study; ``has_label`` is None for a study whose films cannot show the confounded label."""
    patient, index = path
    look = int(_generator(seed, patient, _Purpose.LOOK, index).integers(scanners))
    if confound is None or has_label is None:
        return look
    draw = _generator(seed, patient, _Purpose.CONFOUND, index)
    if draw.random() >= confound.strength:
        return look
    if has_label:
        return 0
    return look or int(draw.integers(1, scanners))


def _draw_film(
    seed: int, path: tuple[int, int, int], view: str, body_part: str, scanner: Look, patients: int
) -> FilmDraw:
    patient, study, index = path
    position = _generator(seed, patient, _Purpose.POSITION, study, index)
    position_spread = 0.35 if body_part == "CHEST" else 1.0
    storage = _generator(seed, patient, _Purpose.STORAGE, study, index)
    return FilmDraw(
        index=index,
        view=view,
        rotation=float(np.clip(position.normal(0, 0.07 * position_spread), -0.2, 0.2)),
        obliquity=float(np.clip(position.normal(0, 0.07 * position_spread), -0.2, 0.2)),
        shift=(float(position.normal(0, 0.02)), float(position.normal(0, 0.02))),
        zoom=float(position.uniform(0.93, 1.06)),
        exposure=float(position.lognormal(0, 0.25)),
        margins=_draw_margins(_generator(seed, patient, _Purpose.FIELD, study, index)),
        field_turn=float(_generator(seed, patient, _Purpose.FIELD, study, index, 1).normal(0, 0.012)),
        marker=_draw_marker(_generator(seed, patient, _Purpose.MARKER, study, index)),
        inverted=bool(storage.random() < scanner.inverted_share),
        syntax=int(storage.integers(len(scanner.syntaxes))),
        objects=(),
        fracture=None,
        broken=_draw_unusable_files(seed, path, patients),
        seed=int(_generator(seed, patient, _Purpose.NOISE, study, index).integers(2**31)),
    )


def _draw_findings(
    seed: int, path: tuple[int, int, int], level: Difficulty
) -> tuple[tuple[FindingDraw, ...], FindingDraw | None]:
    """Draw no foreign object, one, or rarely two; and no fracture or one."""
    patient, study, film = path
    draw = _generator(seed, patient, _Purpose.OBJECT, study, film)
    count = (2 if draw.random() < 0.2 else 1) if draw.random() < PREVALENCE else 0
    objects = tuple(
        _draw_finding(draw, str(draw.choice(OBJECT_KINDS)), level.object_size, level.contrast_to_noise)
        for _ in range(count)
    )
    draw = _generator(seed, patient, _Purpose.FRACTURE, study, film)
    is_broken = draw.random() < PREVALENCE
    return objects, (
        _draw_finding(draw, "fracture", level.fracture_size, level.contrast_to_noise) if is_broken else None
    )


def _draw_finding(draw: np.random.Generator, kind: str, sizes: Range, ratios: Range) -> FindingDraw:
    """Draw a finding: size log-uniform, contrast uniform."""
    return FindingDraw(
        kind=kind,
        size=float(np.exp(draw.uniform(np.log(sizes[0]), np.log(sizes[1])))),
        contrast_to_noise=float(draw.uniform(*ratios)),
        place=float(draw.random()),
        angle=float(draw.uniform(-np.pi, np.pi)),
        seed=int(draw.integers(2**31)),
    )


def _draw_margins(draw: np.random.Generator) -> tuple[float, float, float, float] | None:
    if draw.random() < 0.2:
        return None
    left, top, right, bottom = (float(v) for v in draw.uniform(0.004, 0.11, 4))
    return left, top, right, bottom


def _draw_marker(draw: np.random.Generator) -> tuple[int, float, float] | None:
    if draw.random() < 0.08:
        return None
    return int(draw.integers(4)), float(draw.uniform(0.035, 0.06)), float(draw.normal(0, 0.12))


def _draw_unusable_files(seed: int, path: tuple[int, int, int], patients: int) -> tuple[UnusableFile, ...]:
    """Draw unusable files; kind k is also added to the first film of patient k (modulo ``patients``)."""
    patient, study, film = path
    draw = _generator(seed, patient, _Purpose.BROKEN, study, film).random(len(UnusableFile))
    is_first_film = study == film == 0
    return tuple(
        kind
        for kind in UnusableFile
        if draw[kind] < UNUSABLE_FILE_SHARE or (is_first_film and kind % patients == patient)
    )


def _generator(seed: int, patient: int, purpose: _Purpose, *path: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(patient, purpose, *path))))
