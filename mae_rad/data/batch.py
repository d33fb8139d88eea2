"""What travels from loader to objective.

Legend: B films, N patches of a view, P predicted patches, p patch side in pixels.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


class Patches(NamedTuple):
    """Patches of films of any shape as one dense tensor.

    Attributes:
        values: [B, N, p*p] uint16 display values (0 dark, 65535 bright), rows of the patch one after another.
        coords: [B, N, 2] float32 (row, column) of the patch on the T = 196 grid.
        size: [B, 2] float32 (rows, columns) of the whole film in the same units.
    """

    values: Tensor
    coords: Tensor
    size: Tensor

    def to(self, device: torch.device) -> "Patches":
        """Copy to ``device``."""
        return Patches(*(part.to(device, non_blocking=True) for part in self))


class View(NamedTuple):
    """One drawn view of every film of a batch.

    Attributes:
        visible: what the encoder sees.
        predicted: what a masked objective predicts; None where the view asks for none.
        predicted_content: [B, P] bool, which predicted patches show content rather than background.
    """

    visible: Patches
    predicted: Patches | None = None
    predicted_content: Tensor | None = None

    def to(self, device: torch.device) -> "View":
        """Copy to ``device``."""
        return View(
            self.visible.to(device),
            None if self.predicted is None else self.predicted.to(device),
            None if self.predicted_content is None else self.predicted_content.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Batch:
    """A batch of films.

    Attributes:
        views: view name → View; the names are those that the objective asked for.
        film: [B] int64 hash of the film key.
        study: [B] int64 hash of the study key.
        keys: the B film keys.
    """

    views: dict[str, View]
    film: Tensor
    study: Tensor
    keys: tuple[str, ...]

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory, from where copies to a GPU run beside the arithmetic."""
        views = {
            name: View(
                Patches(*(part.pin_memory() for part in view.visible)),
                None if view.predicted is None else Patches(*(part.pin_memory() for part in view.predicted)),
                None if view.predicted_content is None else view.predicted_content.pin_memory(),
            )
            for name, view in self.views.items()
        }
        return Batch(views, self.film.pin_memory(), self.study.pin_memory(), self.keys)

    def to(self, device: torch.device) -> "Batch":
        """Copy to ``device``."""
        return Batch(
            {name: view.to(device) for name, view in self.views.items()},
            self.film.to(device),
            self.study.to(device),
            self.keys,
        )


@dataclass(frozen=True)
class ViewSpec:
    """What an objective asks the loader to draw under one view name.

    Attributes:
        tokens: T, the number of patches that the content box (or the crop) is scaled to.
        crop: range of the area fraction of a random square resized crop inside the content box; None takes the film.
        jitter: strength of the display jitter (window, gamma, noise) in [0, 1]; 0 draws none.
        flip: probability of a left-right mirror.
        visible: fraction of T that the encoder sees; None shows every patch (with ``crop``, exactly T).
        predicted: fraction of T that is predicted; 0 asks for none, None for all of T that is not visible.
        padded: the film is padded with black to a square of T patches, all of which count as content.
    """

    tokens: int
    crop: tuple[float, float] | None = None
    jitter: float = 0.0
    flip: float = 0.0
    visible: float | None = None
    predicted: float | None = 0.0
    padded: bool = False

    @property
    def budgets(self) -> tuple[int | None, int]:
        """Number of (visible, predicted) patches; None is all of them."""
        visible = None if self.visible is None else int(self.tokens * self.visible)
        if self.predicted is None:
            return visible, self.tokens - (visible or 0)
        return visible, int(self.tokens * self.predicted)

    def describe(self) -> dict[str, object]:
        """The specification as plain values, for configs and logs."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
