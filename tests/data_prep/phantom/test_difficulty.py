"""Levels of the synthetic archive: bytes of ``hard``; sizes, contrasts and films of the findings of each level."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import ArchiveError
from data_prep.phantom.difficulty import LEVELS
from data_prep.phantom.planted_findings import Planted
from data_prep.phantom.random_draws import PREVALENCE, draw_patient
from data_prep.phantom.render_film import render
from data_prep.phantom.write_archive import write_archive

HARD_FILES = (
    "43490a78e040f6782c7b70693a1a80c3ef7974291e19560fa6d0c28d8576857f",
    "46bc00a18061caae5f6e862e35ac4f10f09924e6271a124e4da39c71a9994389",
    "4ba7b9909cbf4cf72fc5a2ebe9a3a7082019223a58653177fdffd1563b939a42",
    "4f6891a575cbd08a4321d893656dd66d3b79208c26b2662dc6ee3790da7c36c5",
    "74ce3d164b47acd512d849c5f391682ae1cd2162c920d01a2c4c2d1edd5088c0",
    "7531c1f578cd43613c7c45c809e8d5d331ec17745e5937b6b4409d1ca2ef43a3",
    "7a8351d81dc97e0f7d3136e49a7448ce2f06e9dc3d85db0d0c6bc91d2b9ac65b",
    "888951358100adc61f9421037c9c9d0740e2a83d50f41ac232677bd9fceeaee7",
    "8971d3d54716eb8ee0574628d7182bd37d13960d318fb1eccc503d30730b3510",
    "8ff7ae7de0881c71969b4d8ac9df4b62e41cc2763b7aed3a5009c281a3743e5e",
    "954078bba950f48deec9a5dc3075f26b4eb611da20ae17c2f4fed4f003a4e86d",
    "9c73b7538cc915bd2e3fb34fb48d7e6314ee604e9355ef99e8f98d9af439e0ac",
    "ac831ac945eef236a4b5b6da5868ada65a5a5775d53f9c9705ade36e87f852d6",
    "ae09d9bfa74cb8188874d0a01c014cacb4dee650dc951ab007e0aca4852a6e23",
    "af4f571dd7e73c4a5539fc7ffe407c02fbe5e5b2cb8273fab60cf10b2cd49aef",
    "c16d9b3594b98460e8a9179e43548cb00e793e47092d33839d092b4c852fe599",
    "c5b7d7de35d697432f3b3addb35a4b649ce6bfa53d24ae72a23f0514ab5936f2",
    "c7eae82c503bff39da6aa01b59fbe02564ef40a32f8e1760db44a6cfb48efb70",
    "dc87b8e0521c2ae42d9364a0bf4469f5c8af70ede100321fc4e10360e4a06b5f",
    "df0be5dc45fcb05fd734071c9c0d31deadab06155d8ecaa42ac980a2f80cb91d",
    "ec579ad6997faea9cfad1e0a6fb1695016b8329c5565d7dece9c612c9d98bc5e",
    "f472c292dd971bd465422fe9ed2aedeea655989108b1b387a01db032c16b97a5",
)
"""SHA-256 of path, zero byte and content of each file: 3 patients, seed 11, 240 px, as version 0.1 writes them."""


def test_hard_writes_the_bytes_of_earlier_versions(tmp_path: Path) -> None:
    write_archive(tmp_path / "out", patients=3, seed=11, workers=1, long_side=240, level="hard")
    files = sorted(
        hashlib.sha256(path.relative_to(tmp_path / "out").as_posix().encode() + b"\0" + path.read_bytes()).hexdigest()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert tuple(files) == HARD_FILES


CLINICAL_ARCHIVE = "24ce0129afa15900c90bd1b37d2964f5d58118528c5931c1c0f1d83f729eb6d6"
"""SHA-256 of all paths and contents: 4 patients, seed 5, fractures on one scanner, as before there were layouts."""


def test_the_general_layout_keeps_its_bytes(tmp_path: Path) -> None:
    out, digest = tmp_path / "out", hashlib.sha256()
    write_archive(out, patients=4, seed=5, workers=1, level="clinical", confound="fracture=0.7", scale=0.15)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == CLINICAL_ARCHIVE


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="clear, clinical, hard"):
        write_archive(tmp_path / "out", patients=1, seed=0, workers=1, level="easy")


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_findings_are_drawn_in_the_ranges_of_the_level(name: str) -> None:
    level = LEVELS[name]
    studies = [study for index in range(300) for study in draw_patient(3, index, 300, level).studies]
    films = [film for study in studies for film in study.films]
    for findings, sizes in (
        ([finding for film in films for finding in film.objects], level.object_size),
        ([film.fracture for film in films if film.fracture], level.fracture_size),
    ):
        assert len(findings) > 100
        drawn = np.array([finding.size for finding in findings])
        assert sizes[0] <= drawn.min() and drawn.max() <= sizes[1]
        ratios = np.array([finding.contrast_to_noise for finding in findings])
        assert level.contrast_to_noise[0] <= ratios.min() and ratios.max() <= level.contrast_to_noise[1]
    assert np.mean([bool(film.objects) for film in films]) == pytest.approx(PREVALENCE, abs=0.06)


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_the_share_of_studies_with_findings_on_all_films_is_that_of_the_level(name: str) -> None:
    level = LEVELS[name]
    studies = [study for index in range(400) for study in draw_patient(3, index, 400, level).studies]
    shown = [
        all((film.objects, film.fracture) == (study.films[0].objects, study.films[0].fracture) for film in study.films)
        for study in studies
        if len(study.films) > 1 and any(film.objects or film.fracture for film in study.films)
    ]
    assert np.mean(shown) == pytest.approx(level.shared_studies, abs=0.06)


@pytest.mark.parametrize("name", ["clear", "clinical"])
def test_rendered_findings_have_the_size_and_contrast_of_the_level(name: str) -> None:
    level, findings = LEVELS[name], list[tuple[Planted, tuple[float, float]]]()
    for index in range(12):
        patient = draw_patient(3, index, 300, level)
        for study in patient.studies:
            film = study.films[0]
            if not (film.objects or film.fracture):
                continue
            rendered = render(patient.anatomy, study, film, long_side=520, level=level)
            findings += [(planted, level.object_size) for planted in rendered.objects]
            findings += [(rendered.fracture, level.fracture_size)] if rendered.fracture else []
    assert len(findings) > 6
    for planted, sizes in findings:
        assert sizes[0] - 1e-6 <= planted.size <= sizes[1] + 1e-6
        assert planted.contrast_to_noise >= level.contrast_to_noise[0] - 0.01
        if planted.kind == "fracture" or not level.object_attenuation:
            assert planted.contrast_to_noise <= level.contrast_to_noise[1] + 0.01
        else:  # as metal, whatever the noise
            assert planted.amplitude >= level.object_attenuation * level.contrast_to_noise[0] - 1e-6
