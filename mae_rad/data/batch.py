"""Batches of patches, and the views that an objective requests from the loader.

Legend: B films, N patches of a view, P predicted patches, p patch side in pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.patch_layout import grid_of
from mae_rad.data.resolution_schedule import Stage, tokens_at


class Patches(NamedTuple):
    """Patches of films of any shape as one dense tensor.

    Attributes:
        values: [B, N, p*p] uint16 display values (0 dark, 65535 bright), row by row within a patch.
        coords: [B, N, 2] float32 (row, column) of the patch centre, in units of the T = 196 grid.
        size: [B, 2] float32 (rows, columns), extent of the whole film in the same units.
        content: [B, 4] float32 (top, left, rows, columns) of the content box in the same units, for whole films; None
            where it is not known.
    """

    values: Tensor
    coords: Tensor
    size: Tensor
    content: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """``values``, ``coords`` and ``size``, which are known of every view."""
        return self.values, self.coords, self.size

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the patch grid; for batches of complete films of one shape."""
        return grid_of(self.values.shape[1], self.size[0].cpu().numpy())

    def to(self, device: torch.device) -> "Patches":
        """Copy to ``device``."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> "Patches":
        """Copy to page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Patches":
        content = None if self.content is None else change(self.content)
        return Patches(change(self.values), change(self.coords), change(self.size), content)


class View(NamedTuple):
    """One drawn view of every film of a batch.

    Attributes:
        visible: input of the encoder.
        predicted: targets of a masked objective; None without any.
        predicted_content: [B, P] bool, True where a predicted patch shows content rather than background.
        masked_content: [B] float32 share in [0, 1] of the film's content patches that the encoder does not get.
    """

    visible: Patches
    predicted: Patches | None = None
    predicted_content: Tensor | None = None
    masked_content: Tensor | None = None

    def to(self, device: torch.device) -> "View":
        """Copy to ``device``."""
        return View(
            self.visible.to(device),
            None if self.predicted is None else self.predicted.to(device),
            None if self.predicted_content is None else self.predicted_content.to(device, non_blocking=True),
            None if self.masked_content is None else self.masked_content.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "View":
        """Copy to page-locked memory."""
        return View(
            self.visible.pin_memory(),
            None if self.predicted is None else self.predicted.pin_memory(),
            None if self.predicted_content is None else self.predicted_content.pin_memory(),
            None if self.masked_content is None else self.masked_content.pin_memory(),
        )


class Members(NamedTuple):
    """Who the vectors of a view are: equal numbers are the same draw, view, film, study or patient, on every rank.

    Attributes:
        position: [B] int64 position of the draw in its epoch, equal for all views of one draw.
        view: [B] int64 number of the view.
        film: [B] int64 film that the view shows, which for a partner is another than that of the draw.
        study: [B] int64 study of that film.
        patient: [B] int64 patient of that film.
    """

    position: Tensor
    view: Tensor
    film: Tensor
    study: Tensor
    patient: Tensor


Meta = Mapping[str, Tensor]
"""What is known of the films that a view shows: column → [B, …] int64 codes (-1 unknown) or float32 (NaN unknown)."""


@dataclass(frozen=True)
class Batch:
    """A batch of draws.

    Attributes:
        views: view name → View; the names are those that the objective requests.
        keys: keys of the B drawn films; a view with a partner shows another film.
        members: view name → who its vectors are.
        meta: view name → column → values, for the columns that the objective needs.
        step: optimiser step, counted from 0.
        progress: share of the run, in [0, 1]; 1 in an extension.
    """

    views: dict[str, View]
    keys: tuple[str, ...]
    members: dict[str, Members] = field(default_factory=dict)
    meta: dict[str, Meta] = field(default_factory=dict)
    step: int = 0
    progress: float = 0.0

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory, so that copies to a GPU overlap with computation."""
        return replace(
            self, views={name: view.pin_memory() for name, view in self.views.items()}
        )  # the rest is added in the main process

    def to(self, device: torch.device) -> "Batch":
        """Copy to ``device``."""
        return replace(
            self,
            views={name: view.to(device) for name, view in self.views.items()},
            members={
                name: Members(*(part.to(device, non_blocking=True) for part in members))
                for name, members in self.members.items()
            },
            meta={
                name: {column: values.to(device, non_blocking=True) for column, values in meta.items()}
                for name, meta in self.meta.items()
            },
        )


@dataclass(frozen=True)
class ViewSpec:
    """A view that an objective requests from the loader.

    Attributes:
        tokens: T, the number of patches that the content box (or the crop) is scaled to.
        augmentation: augmentation; with a crop, the crop is scaled to T patches instead of the content box.
        visible: fraction of T that is input of the encoder; None takes every patch (with a crop, exactly T).
        predicted: fraction of T that is predicted; 0 for none, None for all of T that is not visible.
        padded: pad the film with black to a square of T patches, all of which count as content.
        schedule: earlier stages of the run with another T.
        partner: show the partner of the film, if the run chooses partners, instead of the film itself.
    """

    tokens: int
    augmentation: Augmentation = field(default_factory=Augmentation)
    visible: float | None = None
    predicted: float | None = 0.0
    padded: bool = False
    schedule: tuple[Stage, ...] = ()
    partner: bool = False

    def __post_init__(self) -> None:
        """Check that what is predicted stays in its place.

        Raises:
            ValueError: transforms move pixels of a view whose patches are predicted.
        """
        if self.predicted != 0 and self.augmentation.transforms is not None:
            from mae_rad.data.film_transforms import moves_pixels  # noqa: PLC0415 - albumentations takes seconds to load

            if moves_pixels(self.augmentation.transforms):
                raise ValueError(
                    "transforms move pixels, and patches are predicted at their places. Give transforms that change"
                    " values only"
                )

    @property
    def budgets(self) -> tuple[int | None, int]:
        """Number of (visible, predicted) patches; None is all of them."""
        visible = None if self.visible is None else int(self.tokens * self.visible)
        if self.predicted is None:
            return visible, self.tokens - (visible or 0)
        return visible, int(self.tokens * self.predicted)

    def at(self, step: int, steps: int) -> "ViewSpec":
        """The view at the T of an optimiser step.

        Args:
            step: optimiser step, counted from 0.
            steps: number of steps of the run.
        """
        return replace(self, tokens=tokens_at(step, steps, self.schedule, self.tokens), schedule=())

    def without_augmentation(self) -> "ViewSpec":
        """The same view without augmentation, for pictures."""
        return replace(self, augmentation=Augmentation())
