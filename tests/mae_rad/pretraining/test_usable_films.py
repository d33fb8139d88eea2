"""What is said before the start is what the loader then skips."""

from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.cost.plan import cost_report
from mae_rad.data.film_order import Draw
from mae_rad.data.loader import DrawViews, FilmUnusableError
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.usable_films import UsableFilms, count_usable_films
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments

SHAPES = [(40, 30), (96, 96), (97, 64), (200, 100), (300, 300), (420, 150), (64, 700), (48, 48), (90, 90)]
SPACINGS = [None, (0.1, 0.1), (0.2, 0.2), (0.05, 0.05), (0.4, 0.4), None, (0.1, 0.1), (0.15, 0.15), (2.0, 2.0)]
CONTENT, NATIVE, MM, SKIPPING = (
    ["encoder.scale=content"],
    ["encoder.scale=native"],
    ["encoder.mm_per_patch=3.2"],
    ["encoder.mm_per_patch=3.2", "encoder.without_spacing=skip"],
)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [
        film(f"f{number}", noise(*shape, seed=number), pixel_spacing_mm=spacing)
        for number, (shape, spacing) in enumerate(zip(SHAPES, SPACINGS, strict=True))
    ]
    return write_public(tmp_path_factory.mktemp("films") / "public", films)


def settings(public: Path, *words: str) -> PretrainSettings:
    _, path, *overrides = arguments(public, public.parent / "run", 3, *words)
    return load(PretrainSettings, Path(path), overrides)


def count(public: Path, chosen: PretrainSettings) -> UsableFilms:
    return count_usable_films(ShardIndex([public]).table, chosen)


@pytest.mark.parametrize("tokens", [16, 36, 100, 400])
@pytest.mark.parametrize("scale", [CONTENT, NATIVE, MM, SKIPPING])
def test_the_count_from_the_index_is_that_of_the_loader(public: Path, scale: list[str], tokens: int) -> None:
    chosen = settings(public, f"objective.tokens={tokens}", *scale)
    index = ShardIndex([public]).at_scale(chosen.encoder.film_scale)
    draw = DrawViews(index, chosen.objective.views(), chosen.encoder.patch, 0, 3)
    skipped = 0
    for row in range(len(index)):
        try:
            draw(row, Draw(0, 0, row, row))
        except FilmUnusableError:
            skipped += 1
    assert count(public, chosen).skipped == skipped


def test_it_is_said_in_the_table_of_costs(public: Path, tmp_path: Path) -> None:
    numbers = {"tflops": 1, "measure": False, "utilisation": 1, "gpus": 1, "gpu_gib": 1, "films": 9}
    numbers |= {"pixel_ns": 9.4, "stored_side": 1536}
    lists = {"tokens": "", "models": "", "budgets": ""}
    chosen = settings(public, "objective.tokens=100", *SKIPPING)
    text = cost_report(chosen, **lists, **numbers)  # type: ignore[arg-type]
    assert "of 9 have fewer than the 75 patches of a step: skipped" in text
    assert "3 without a usable pixel spacing: skipped" in text
    elsewhere = settings(tmp_path / "nowhere", *NATIVE)
    assert "not known before data.shards is there" in cost_report(elsewhere, **lists, **numbers)  # type: ignore[arg-type]


def test_films_that_the_shards_have_reduced_are_told(tmp_path: Path) -> None:
    films = [film(f"f{number}", noise(200, 200), source_rows=400 * number, source_columns=300) for number in (1, 2)]
    films[0][1].update(source_rows=200, source_columns=200)
    public = write_public(tmp_path / "public", films)
    assert "1 are stored smaller than their source" in str(count(public, settings(public, *NATIVE)))
    assert "stored smaller" not in str(count(public, settings(public, *CONTENT)))


def test_a_run_that_would_skip_every_film_is_refused(public: Path) -> None:
    with pytest.raises(SettingsError, match=r"every film would be skipped: 9 of 9 have fewer than the 7,500 patches"):
        count(public, settings(public, "objective.tokens=10000", *NATIVE)).check()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["encoder.scale=native", "encoder.mm_per_patch=3"], "Give one of the two"),
        (["encoder.without_spacing=skip"], "without_spacing is for mm_per_patch"),
        (["encoder.scale=native", "objective.padded=true"], "keep the scale of a film, crop and padded change it"),
        (["encoder.mm_per_patch=3", "objective.crop=[0.2, 1]"], "keep the scale of a film, crop and padded change it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(public: Path, words: list[str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        settings(public, *words)
