"""Reconstruct held-out films during training; films and their hidden patches stay the same throughout a run."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mae_rad.data.augmentation import Variation
from mae_rad.data.batch import Patches, View, ViewSpec
from mae_rad.data.display_augmentation import varied_table
from mae_rad.data.film import Film
from mae_rad.data.patch_masking import draw_budget
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import FilmPatches, cut_into_patches, pad_to_square, stack, view_layout
from mae_rad.errors import SettingsError
from mae_rad.objectives.interface import Objective, Reconstructs
from mae_rad.pretraining.reconstruction_sheet import Reconstruction, sheet
from mae_rad.pretraining.settings import PretrainSettings


class HeldOutFilm(NamedTuple):
    """A film with a fixed draw of visible and predicted patches.

    Attributes:
        caption: body part and view position.
        image: [rows * p, columns * p] uint16 display values, without augmentation.
        grid: (rows, columns) of patches.
        shape: (rows, columns) proportions of the film, before stretching to whole patches.
        view: view of this film alone, B = 1.
        visible: int64 indices of the visible patches.
        predicted: int64 indices of the predicted patches.
    """

    caption: str
    image: NDArray[np.uint16]
    grid: tuple[int, int]
    shape: tuple[float, float]
    view: View
    visible: NDArray[np.int64]
    predicted: NDArray[np.int64]


def held_out_films(index: ShardIndex, settings: PretrainSettings, objective: Objective) -> dict[int, list[HeldOutFilm]]:
    """Select and draw validation films of mixed body parts, at every T of the run.

    Args:
        index: films of the run.
        settings: settings of the run.
        objective: objective with its views.

    Returns:
        T → films; empty if the objective predicts no patches, or no validation film can be used.
    """
    spec = next((spec for spec in objective.views.values() if spec.budgets[1] > 0), None)
    if spec is None or settings.runtime.pictures == 0 or not isinstance(objective, Reconstructs):
        return {}
    data = settings.data
    try:
        held_out = ShardIndex(data.shards, split="val", **data.source).at_scale(settings.encoder.film_scale)
    except SettingsError:  # no validation film
        return {}
    sizes = [stage.objective.tokens for stage in settings.stages()]
    specs = [replace(spec, tokens=tokens).without_augmentation() for tokens in dict.fromkeys(sizes)]
    films: list[list[HeldOutFilm]] = []
    for row in _mixed_rows(held_out):
        try:
            film = held_out.film(row)
        except FilmUnreadableError:
            continue
        drawn = [_hold_out(film, size, settings.encoder.patch, alone=objective.predicts_alone) for size in specs]
        usable = [held for held in drawn if held is not None]
        if len(usable) == len(specs):
            films.append(usable)
        if len(films) == settings.runtime.pictures:
            break
    return {spec.tokens: list(column) for spec, column in zip(specs, zip(*films, strict=True), strict=False)}


@torch.no_grad()
def draw_pictures(
    films: dict[int, list[HeldOutFilm]],
    objective: Objective,
    settings: PretrainSettings,
    device: torch.device,
    step: int,
) -> Image.Image:
    """Draw the reconstructions of the films at the T of a step; a collective call, since parameters may be partitioned.

    Args:
        films: result of :func:`held_out_films`.
        objective: objective on ``device``; it is left in training mode.
        settings: settings of the run.
        device: device of this rank.
        step: optimiser step, counted from 0.
    """
    assert isinstance(objective, Reconstructs)  # else there are no held-out films
    objective.eval()
    tokens = settings.at(step).objective.tokens
    reconstructions = []
    for film in films[tokens]:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            reconstruction = objective.reconstruct(film.view.to(device))
        reconstructions.append(_reconstruction(film, reconstruction[0].float().cpu().numpy(), settings.encoder.patch))
    objective.train()
    return sheet(reconstructions, tokens=tokens, patch=settings.encoder.patch, contrast_given=objective.normalise)


def _mixed_rows(index: ShardIndex) -> list[int]:
    order = generator_for("pictures").permutation(len(index)).tolist()
    parts = index.table.column("body_part").to_pylist()
    counts: dict[str | None, int] = {}
    turn = {}
    for row in order:  # the n-th film of every body part comes before the n+1-th of any
        turn[row] = counts[parts[row]] = counts.get(parts[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])


def _hold_out(film: Film, spec: ViewSpec, patch: int, *, alone: bool) -> HeldOutFilm | None:
    sidecar, no_variation = film.sidecar, Variation()
    layout = view_layout(film, spec, patch, no_variation)
    image = np.asarray(varied_table(sidecar.display, no_variation)[film.values(layout, patch)])
    content, down_across, region = film.content(layout), layout.grid, layout.region
    if spec.padded:
        image, content, layout = pad_to_square(image, content, layout, spec.tokens)
    visible, n_predicted = spec.budgets
    if visible is None or content.size < visible + n_predicted:
        return None
    drawable = np.ones_like(content) if spec.padded else content
    chosen = draw_budget(drawable, visible + n_predicted, generator_for("pictures", sidecar.key))
    visible_patches, predicted = chosen[:visible], chosen[visible:]
    if alone:  # predict all hidden content, so that the picture has no gaps
        predicted = np.union1d(predicted, np.setdiff1d(np.flatnonzero(drawable), visible_patches))
    every = cut_into_patches(image, layout, patch)
    view = View(_select(every, visible_patches), _select(every, predicted))
    caption = ", ".join(part for part in (sidecar.body_part, sidecar.view) if part) or "film"
    # Undoes, for the film and its black padding, the stretching to whole patches.
    shape = tuple(
        side * padded / grid
        for side, padded, grid in zip((region.rows, region.columns), layout.grid, down_across, strict=True)
    )
    return HeldOutFilm(caption, image, layout.grid, (shape[0], shape[1]), view, visible_patches, predicted)


def _select(patches: FilmPatches, chosen: NDArray[np.int64]) -> Patches:
    return stack([FilmPatches(patches.values[chosen], patches.coords[chosen], patches.size)])


def _reconstruction(film: HeldOutFilm, predicted: NDArray[np.float32], patch: int) -> Reconstruction:
    """Insert predicted patches [P, p*p] into the image of a film."""
    down, across = film.grid
    patches = film.image.reshape(down, patch, across, patch).transpose(0, 2, 1, 3).reshape(-1, patch, patch)
    guess = patches.astype(np.float32)
    guess[film.predicted] = predicted.reshape(-1, patch, patch)
    is_visible, is_predicted = np.zeros(down * across, bool), np.zeros(down * across, bool)
    is_visible[film.visible] = True
    is_predicted[film.predicted] = True
    image = guess.reshape(down, across, patch, patch).transpose(0, 2, 1, 3).reshape(film.image.shape)
    masks = is_visible.reshape(film.grid), is_predicted.reshape(film.grid)
    return Reconstruction(film.caption, film.image, image, *masks, film.shape)
