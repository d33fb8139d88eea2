"""Pictures show the same held-out films, to scale, without augmentation, with all of the content."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from data_prep.shard_format.content_mask_bits import mask_shape
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.vit import build_encoder
from mae_rad.objectives import FILM
from mae_rad.pretraining.reconstruction_sheet import MAX_ERROR, PANELS, Reconstruction, panels, sheet
from mae_rad.pretraining.reconstructions import HeldOutFilm, draw_pictures, held_out_films
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public

SHAPES = {"LEG": (2500, 300), "ARM": (300, 2500), "HAND": (400, 300), "CHEST": (320, 330)}


def _circle(rows: int, columns: int) -> np.ndarray:
    canvas = np.full((rows, columns), 600, np.uint16)
    cv2.circle(canvas, (columns // 2, rows // 2), min(rows, columns) // 3, 4000, -1)
    return canvas


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.ones(mask_shape(400, 300), bool)
    mask[:20] = False
    films = [
        film(part, _circle(*shape), split="val", body_part=part, mask=mask if part == "HAND" else None)
        for part, shape in SHAPES.items()
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", [*films, film("train", noise(100, 100))])


def _settings(public: Path, **objective: Any) -> PretrainSettings:
    small = {"name": "mae", "tokens": 196, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return PretrainSettings.model_validate(
        {
            "data": {"shards": [public]}, "encoder": {"model": "vit_tiny", "dim": 16, "depth": 1, "heads": 2},
            "objective": small | objective, "optimizer": {"steps": 10, "batch": 1},
            "runtime": {"run_dir": "none", "pictures": 4},
        }
    )  # fmt: skip


def _held_out(public: Path, **objective: Any) -> dict[int, list[HeldOutFilm]]:
    settings = _settings(public, **objective)
    built = settings.objective.build({FILM: build_encoder(settings.encoder)})
    return held_out_films(ShardIndex([public]), settings, built)


def _to_panels(one: HeldOutFilm) -> list[np.ndarray]:
    seen, predicted = (np.zeros(one.grid, bool) for _ in range(2))
    seen.reshape(-1)[one.visible] = True
    predicted.reshape(-1)[one.predicted] = True
    return panels(Reconstruction(one.caption, one.image, one.image.astype(np.float32), seen, predicted, one.shape))


@pytest.mark.parametrize("padded", [False, True])
def test_a_circle_is_drawn_round_on_films_of_any_shape(public: Path, padded: bool) -> None:
    films = _held_out(public, padded=padded)[196]
    assert {one.caption.split(",")[0] for one in films} == set(SHAPES)
    for one in films:
        shown = _to_panels(one)
        assert len({panel.shape for panel in shown}) == 1
        down, across = np.nonzero(shown[0][..., 0] > 150)
        assert np.ptp(down) + 1 == pytest.approx(np.ptp(across) + 1, abs=2)


def test_pictures_show_the_film_without_augmentation(public: Path) -> None:
    plain = _held_out(public)[196]
    varied = _held_out(public, crop=(0.3, 0.5), flip=1.0, flip_sides=True, window=1.0, gamma=1.0, noise=1.0)[196]
    for one, other in zip(plain, varied, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.visible, other.visible)
        assert torch.equal(one.view.visible.values.int(), other.view.visible.values.int())


def test_no_patch_of_the_anatomy_is_missing(public: Path) -> None:
    for one in _held_out(public, visible=0.2, predicted=0.1)[196]:
        shown = np.union1d(one.visible, one.predicted)
        everything = one.grid[0] * one.grid[1]
        if one.caption.startswith("HAND"):
            assert everything * 0.5 < len(shown) < everything * 0.8  # its upper part is no content
        else:
            assert len(shown) == everything
        assert len(np.intersect1d(one.visible, one.predicted)) == 0
    for one in _held_out(public, visible=0.2, predicted=0.1, decoder="self")[196]:
        assert len(one.predicted) == 19  # what is predicted depends on what else is: as in training


def test_every_stage_shows_the_same_films_at_its_own_size(public: Path) -> None:
    settings = _settings(public, tokens=400, schedule=[{"until": 0.5, "tokens": 196}])
    built = settings.objective.build({FILM: build_encoder(settings.encoder)})
    films = held_out_films(ShardIndex([public]), settings, built)
    assert list(films) == [196, 400]
    assert [one.caption for one in films[196]] == [one.caption for one in films[400]]
    early, late = (draw_pictures(films, built, settings, torch.device("cpu"), step) for step in (4, 5))
    assert early.size != late.size
    assert built.training


def test_panels_distinguish_visible_predicted_and_hidden_patches() -> None:
    values = np.full((32, 32), 30_000, np.uint16)
    guess = values.astype(np.float32)
    guess[:16, 16:] += MAX_ERROR * 65535
    seen, predicted = np.array([[True, False], [False, False]]), np.array([[False, True], [False, False]])
    shown = dict(zip(PANELS, panels(Reconstruction("a film", values, guess, seen, predicted, (32, 32))), strict=True))
    hidden = shown["visible patches"][20, 20]
    assert hidden[2] > hidden[0]  # blue, which no film is
    assert (shown["visible patches"][:16, :16] == 117).all()
    assert (shown["visible patches"][:16, 16:] == hidden).all()
    assert (shown["reconstruction"][:16, 16:] == 180).all()
    assert (shown["reconstruction"][16:] == hidden).all()
    assert shown["error"][:16, 16:].min() > 100
    assert shown["error"][:16, :16].max() < 10
    assert (shown["film"] == 117).all()


def test_the_sheet_holds_every_film_and_its_legend() -> None:
    def flat(rows: int, columns: int) -> Reconstruction:
        grid = np.ones((rows, columns), bool)
        values = np.full((rows * 16, columns * 16), 65535, np.uint16)
        return Reconstruction("film", values, values.astype(np.float32), grid, ~grid, values.shape)

    page = np.asarray(sheet([flat(2, 30), flat(30, 2), flat(3, 3)], tokens=400, patch=16, contrast_given=True))
    white = (page == 255).all(axis=-1).sum()
    assert white >= 3 * 256 * (60 + 60 + 9)
    assert page[:60].any()
