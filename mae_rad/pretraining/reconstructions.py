"""Held-out films as the model sees them. The films, and what is hidden of them, are the same all through a run."""

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
from mae_rad.data.views import FilmPatches, as_patches, pad_to_square, stack, view_layout
from mae_rad.errors import SettingsError
from mae_rad.objectives.interface import Objective, Reconstructs
from mae_rad.pretraining.reconstruction_sheet import Reconstruction, sheet
from mae_rad.pretraining.settings import PretrainSettings


class HeldOutFilm(NamedTuple):
    """One film with a fixed draw of visible and predicted patches.

    Attributes:
        caption: body part and view position.
        image: [rows * p, columns * p] display values, without augmentation.
        grid: (rows, columns) of patches.
        shape: (rows, columns) of the film whose patches these are; tells its true proportions.
        view: of this one film.
        visible: patch indices.
        predicted: patch indices.
    """

    caption: str
    image: NDArray[np.uint16]
    grid: tuple[int, int]
    shape: tuple[float, float]
    view: View
    visible: NDArray[np.int64]
    predicted: NDArray[np.int64]


def held_out_films(index: ShardIndex, settings: PretrainSettings, objective: Objective) -> dict[int, list[HeldOutFilm]]:
    """A fixed set of validation films of mixed body parts, at every T of the run.

    Empty where the objective predicts no patches, or where no validation film can be shown.
    """
    spec = next((spec for spec in objective.views.values() if spec.budgets[1] > 0), None)
    if spec is None or settings.runtime.pictures == 0 or not isinstance(objective, Reconstructs):
        return {}
    data = settings.data
    try:
        held_out = ShardIndex(data.shards, where=data.where, split="val", generations=data.generations)
    except SettingsError:  # no validation film: nothing is held out, so nothing is shown
        return {}
    sizes = [stage.objective.tokens for stage in settings.stages()]
    specs = [replace(spec, tokens=tokens).as_it_is() for tokens in dict.fromkeys(sizes)]
    films: list[list[HeldOutFilm]] = []
    for row in _mixed_rows(held_out):
        try:
            film = held_out.film(row)
        except FilmUnreadableError:
            continue
        at_sizes = [_hold_out(film, one, settings.encoder.patch, alone=objective.predicts_alone) for one in specs]
        shown = [one for one in at_sizes if one is not None]
        if len(shown) == len(specs):
            films.append(shown)
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
    """The films at the T of ``step``. Every rank must call it: parameters may be partitioned."""
    assert isinstance(objective, Reconstructs)  # or held_out_films would have found nothing to show
    objective.eval()
    tokens = settings.at(step).objective.tokens
    shown = []
    for film in films[tokens]:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            reconstruction = objective.reconstruct(film.view.to(device))
        shown.append(_reconstruction(film, reconstruction[0].float().cpu().numpy(), settings.encoder.patch))
    objective.train()
    return sheet(shown, tokens=tokens, patch=settings.encoder.patch, contrast_given=objective.normalise)


def _mixed_rows(index: ShardIndex) -> list[int]:
    order = generator_for("pictures").permutation(len(index)).tolist()
    parts = index.table.column("body_part").to_pylist()
    seen: dict[str | None, int] = {}
    turn = {}
    for row in order:  # the n-th film of every body part comes before the n+1-th of any
        turn[row] = seen[parts[row]] = seen.get(parts[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])


def _hold_out(film: Film, spec: ViewSpec, patch: int, *, alone: bool) -> HeldOutFilm | None:
    sidecar, still = film.sidecar, Variation()
    layout = view_layout(film, spec, patch, still)
    image = np.asarray(varied_table(sidecar.display, still)[film.values(layout, patch)])
    content, down_across = film.content(layout), layout.grid
    if spec.padded:
        image, content, layout = pad_to_square(image, content, layout, spec.tokens)
    visible, wanted = spec.budgets
    if visible is None or content.size < visible + wanted:
        return None
    drawable = np.ones_like(content) if spec.padded else content
    chosen = draw_budget(drawable, visible + wanted, generator_for("pictures", sidecar.key))
    seen, predicted = chosen[:visible], chosen[visible:]
    if alone:  # all anatomy that is hidden, so that no patch of it is missing
        predicted = np.union1d(predicted, np.setdiff1d(np.flatnonzero(drawable), seen))
    every = as_patches(image, layout, patch)
    view = View(_only(every, seen), _only(every, predicted))
    caption = ", ".join(part for part in (sidecar.body_part, sidecar.view) if part) or "film"
    # What a whole patch stretched is undone in the picture, for the film as for the black around it.
    shape = tuple(
        side * padded / grid
        for side, padded, grid in zip((sidecar.rows, sidecar.columns), layout.grid, down_across, strict=True)
    )
    return HeldOutFilm(caption, image, layout.grid, (shape[0], shape[1]), view, seen, predicted)


def _only(patches: FilmPatches, chosen: NDArray[np.int64]) -> Patches:
    return stack([FilmPatches(patches.values[chosen], patches.coords[chosen], patches.size)])


def _reconstruction(film: HeldOutFilm, predicted: NDArray[np.float32], patch: int) -> Reconstruction:
    """The images of one film, [rows * p, columns * p] each, and which patches they show."""
    down, across = film.grid
    patches = film.image.reshape(down, patch, across, patch).transpose(0, 2, 1, 3).reshape(-1, patch, patch)
    guess = patches.astype(np.float32)
    guess[film.predicted] = predicted.reshape(-1, patch, patch)
    seen, told = np.zeros(down * across, bool), np.zeros(down * across, bool)
    seen[film.visible] = True
    told[film.predicted] = True
    image = guess.reshape(down, across, patch, patch).transpose(0, 2, 1, 3).reshape(film.image.shape)
    return Reconstruction(film.caption, film.image, image, seen.reshape(film.grid), told.reshape(film.grid), film.shape)
