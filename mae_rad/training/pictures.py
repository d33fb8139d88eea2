"""Held-out films as the model sees them: original, visible patches, reconstruction, error; all at the same scale."""

from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from data_prep.display import display_table
from mae_rad.config import PretrainSettings
from mae_rad.data.batch import View, ViewSpec
from mae_rad.data.geometry import film_layout, square_layout
from mae_rad.data.loader import stack
from mae_rad.data.seeds import counted
from mae_rad.data.shards import FilmUnreadableError, ShardIndex
from mae_rad.data.view import as_patches, draw_budget, pad_to_square
from mae_rad.errors import SettingsError
from mae_rad.objectives.base import Objective

WHITE = 65535
LARGEST_ERROR = 0.25
"""Absolute error, as a fraction of the display range, that the error map shows brightest."""

_GAP, _CAPTION = 10, 16
_HIDDEN = (24, 40, 72)
"""Blue, so that a hidden patch is not taken for a grey one."""


@runtime_checkable
class Reconstructs(Protocol):
    """An objective that predicts patches and can show them."""

    def reconstruct(self, view: View) -> Tensor:
        """[B, P, p*p] display values of the predicted patches."""


class HeldOutFilm(NamedTuple):
    """One film with a fixed draw of visible and predicted patches."""

    caption: str
    image: NDArray[np.uint16]
    grid: tuple[int, int]
    view: View
    visible: NDArray[np.int64]
    predicted: NDArray[np.int64]


def held_out_films(index: ShardIndex, settings: PretrainSettings, objective: Objective) -> list[HeldOutFilm]:
    """A fixed set of validation films of mixed body parts; empty where the objective predicts no patches."""
    spec = next((spec for spec in objective.views.values() if spec.budgets[1] > 0), None)
    if spec is None or settings.runtime.pictures == 0 or not isinstance(objective, Reconstructs):
        return []
    data = settings.data
    try:
        held_out = ShardIndex(data.shards, where=data.where, split="val", generations=data.generations)
    except SettingsError:  # no validation film: nothing is held out, so nothing is shown
        return []
    films: list[HeldOutFilm] = []
    for row in _mixed_rows(held_out):
        film = _hold_out(held_out, row, replace(spec, crop=None, jitter=0.0, flip=0.0), settings)
        if film is not None:
            films.append(film)
        if len(films) == settings.runtime.pictures:
            break
    return films


@torch.no_grad()
def draw_pictures(
    films: list[HeldOutFilm], objective: Objective, settings: PretrainSettings, device: torch.device
) -> Image.Image:
    """One row per film. Every rank must call it: parameters may be partitioned."""
    assert isinstance(objective, Reconstructs)  # or held_out_films would have found nothing to show
    objective.eval()
    rows = []
    for film in films:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            reconstruction = objective.reconstruct(film.view.to(device))
        rows.append(_row(film, reconstruction[0].float().cpu().numpy(), settings.encoder.patch))
    objective.train()
    return _sheet(rows, [film.caption for film in films])


def _mixed_rows(index: ShardIndex) -> list[int]:
    order = counted("pictures").permutation(len(index)).tolist()
    parts = index.table.column("body_part").to_pylist()
    seen: dict[str | None, int] = {}
    turn = {}
    for row in order:  # the n-th film of every body part comes before the n+1-th of any
        turn[row] = seen[parts[row]] = seen.get(parts[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])


def _hold_out(index: ShardIndex, row: int, spec: ViewSpec, settings: PretrainSettings) -> HeldOutFilm | None:
    patch = settings.encoder.patch
    try:
        film = index.film(row)
    except FilmUnreadableError:
        return None
    rows, columns = film.sidecar.rows, film.sidecar.columns
    if spec.padded:
        layout = square_layout(rows, columns, spec.tokens, patch)
    else:
        layout = film_layout(rows, columns, film.box, spec.tokens, patch)
    image = np.asarray(display_table(film.sidecar.display)[film.values(layout, patch)])
    content = film.content(layout)
    if spec.padded:
        image, content, layout = pad_to_square(image, content, layout, spec.tokens)
    visible, predicted = spec.budgets
    if visible is None or content.size < visible + predicted:
        return None
    every = as_patches(image, layout, patch)
    drawable = np.ones_like(content) if spec.padded else content
    chosen = draw_budget(drawable, visible + predicted, counted("pictures", index.key(row)))
    seen, hidden = (
        stack([type(every)(every.values[part], every.coords[part], every.size)])
        for part in (chosen[:visible], chosen[visible:])
    )
    view = View(seen, hidden, torch.from_numpy(content.reshape(-1)[chosen[visible:]])[None])
    caption = " · ".join(part for part in (film.sidecar.body_part, film.sidecar.view) if part) or "film"
    return HeldOutFilm(caption, image, layout.grid, view, chosen[:visible], chosen[visible:])


def _row(film: HeldOutFilm, reconstruction: NDArray[np.float32], patch: int) -> Image.Image:
    assert film.view.predicted is not None
    original = np.repeat((film.image >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    patches = original.reshape(film.grid[0], patch, film.grid[1], patch, 3).transpose(0, 2, 1, 3, 4)
    seen_at, predicted_at = (np.unravel_index(part, film.grid) for part in (film.visible, film.predicted))
    seen = np.full_like(patches, _HIDDEN)
    seen[seen_at] = patches[seen_at]
    shown = seen.copy()
    guess = np.clip(reconstruction.reshape(-1, patch, patch), 0, WHITE)
    shown[predicted_at] = (guess / 257)[..., None]
    truth = film.view.predicted.values[0].numpy().astype(np.float32).reshape(-1, patch, patch)
    error = np.zeros(patches.shape[:-1], np.uint8)
    error[predicted_at] = np.clip(np.abs(guess - truth) / (LARGEST_ERROR * WHITE), 0, 1) * 255
    heat = cv2.cvtColor(cv2.applyColorMap(_joined(error[..., None])[..., 0], cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Image.fromarray(np.concatenate((original, _joined(seen), _joined(shown), heat), axis=1))


def _joined(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    down, across, patch, _, colours = patches.shape
    return np.ascontiguousarray(patches.transpose(0, 2, 1, 3, 4).reshape(down * patch, across * patch, colours))


def _sheet(rows: list[Image.Image], captions: list[str]) -> Image.Image:
    """Two films beside each other, each under its caption."""
    legend = (
        f"each film: original, visible patches, reconstruction, error (white: {LARGEST_ERROR:.0%} of the range or more)"
    )
    across = max(row.width for row in rows) + _GAP
    pairs = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    heights = [max(row.height for row in pair) + _CAPTION + _GAP for pair in pairs]
    sheet = Image.new("RGB", (across * min(2, len(rows)), _CAPTION + sum(heights)), "black")
    pen = ImageDraw.Draw(sheet)
    pen.text((2, 2), legend, fill="white")
    top = _CAPTION
    for place, (pair, height) in enumerate(zip(pairs, heights, strict=True)):
        for side, row in enumerate(pair):
            pen.text((side * across + 2, top + 2), captions[2 * place + side], fill=(160, 200, 255))
            sheet.paste(row, (side * across, top + _CAPTION))
        top += height
    return sheet
