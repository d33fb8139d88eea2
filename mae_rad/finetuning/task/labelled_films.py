"""Batches of labelled films, as groups of films with equal patch grids, without padding.

Loss and cost of a batch are therefore the same for any division into ranks and micro batches, and the output for a film
is that of the film alone. A ViT processes all groups together; only its attention works group by group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.augmentation import Augmentation, Variation, draw_variation
from mae_rad.data.batch import Patches
from mae_rad.data.film import Film
from mae_rad.data.film_order import Draw, Order, StepRange
from mae_rad.data.loader import drawn_batches
from mae_rad.data.patch_layout import grid_of
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import FilmPatches, film_and_points, stack
from mae_rad.encoders.vit import Features

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Targets(Protocol):
    """Targets of the films of a batch."""

    def to(self, device: Any) -> "Targets":
        """Copy to ``device``."""

    def pin_memory(self) -> "Targets":
        """Copy to page-locked memory."""


Group = Patches | Features
"""Films of one grid, as patches or as the features of a frozen encoder."""


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of labelled films.

    Attributes:
        groups: the films, grouped by grid.
        targets: of the films, in the order of the groups.
        keys: of the films, in the order of the groups.
    """

    groups: tuple[Group, ...]
    targets: Targets
    keys: tuple[str, ...]

    def to(self, device: torch.device) -> "LabelledBatch":
        """Copy to ``device``."""
        groups = tuple(on_device(group, device) for group in self.groups)
        return LabelledBatch(groups, self.targets.to(device), self.keys)

    def pin_memory(self) -> "LabelledBatch":
        """Copy to page-locked memory, for asynchronous copies to a GPU."""
        groups = tuple(
            group.pin_memory() if isinstance(group, Patches) else Features(*(part.pin_memory() for part in group))
            for group in self.groups
        )
        return LabelledBatch(groups, self.targets.pin_memory(), self.keys)


def on_device(group: Group, device: torch.device) -> Group:
    """Copy a group of films to a device, asynchronously from page-locked memory.

    Args:
        group: to copy.
        device: that receives the copy.

    Returns:
        The copy.
    """
    if isinstance(group, Patches):
        return group.to(device)
    return Features(*(part.to(device, non_blocking=True) for part in group))


class DrawnFilm(NamedTuple):
    """A film with the augmentation of one draw.

    Attributes:
        film: the film.
        variation: augmentation drawn for it.
        tokens: number of patches that its content is scaled to.
    """

    film: Film
    variation: Variation
    tokens: int


class Target(Protocol[T_co]):
    """Returns the target of a film; picklable, called in the workers."""

    def __call__(self, row: int, drawn: DrawnFilm | None) -> T_co:
        """Return the target of one film.

        Args:
            row: of the film.
            drawn: the film with its augmentation; None where its features are cached and the film is not read.
        """


class Cut(Protocol[T]):
    """Cuts parts out of a film with their targets; picklable, called in the workers."""

    def __call__(self, patches: FilmPatches, target: T, generator: np.random.Generator) -> list[tuple[FilmPatches, T]]:
        """Cut rectangles of whole patches, the same number from every film.

        Args:
            patches: of the whole film.
            target: of the whole film.
            generator: source of randomness.

        Returns:
            Patches and target of each part.
        """


@runtime_checkable
class FollowsFilm(Protocol):
    """A target with places on the film, which follow its transforms."""

    @property
    def points(self) -> NDArray[np.float64]:
        """[K, 2] (x, y) of the places in pixels of the view."""

    def moved(self, points: NDArray[np.float64], size: tuple[int, int]) -> Any:
        """Return the target with its places moved.

        Args:
            points: [K, 2] moved places.
            size: (width, height) of the view in pixels.
        """


@dataclass(frozen=True)
class LabelledFilm(Generic[T]):
    """One film, or a part of it, before collation."""

    key: str
    patches: FilmPatches
    target: T


@dataclass(frozen=True)
class TakeLabelled(Generic[T]):
    """Reads a labelled film, augments it, and cuts parts out of it.

    Attributes:
        index: of the films.
        target: of a film, by its row.
        cut: parts to train on; None takes whole films.
        augmentation: ranges of the augmentation.
        tokens: T.
        patch: side of a patch in pixels.
        seed: of all draws.
        scale: range of random scaling, see ``FilmSettings.scale``.
    """

    index: ShardIndex
    target: Target[T]
    cut: Cut[T] | None
    augmentation: Augmentation
    tokens: int
    patch: int
    seed: int
    scale: float = 0.0

    def __call__(self, row: int, draw: Draw) -> list[LabelledFilm[T]]:
        """Return the whole film or its parts, augmented as drawn."""
        key, film = self.index.key(row), self.index.film(row)
        variation = draw_variation(
            self.augmentation, film.sidecar, generator_for("view", self.seed, draw.epoch, key, "film")
        )
        exponent = float(generator_for("scale", self.seed, draw.epoch, key).uniform(-1, 1))
        tokens = round(self.tokens * (1 + self.scale) ** (2 * exponent))  # 2: T is an area, scale is of a side
        target = self.target(row, DrawnFilm(film, variation, tokens))
        transforms = self.augmentation.transforms
        if transforms is not None and isinstance(target, FollowsFilm):
            patches, points = film_and_points(film, tokens, self.patch, variation, transforms, target.points)
            rows, columns = (self.patch * count for count in grid_of(len(patches.coords), patches.size))
            target = target.moved(points, (columns, rows))
        else:
            patches, _ = film_and_points(film, tokens, self.patch, variation, transforms)
        if not self.cut:
            return [LabelledFilm(key, patches, target)]
        parts = self.cut(patches, target, generator_for("cut", self.seed, draw.epoch, key))
        return [LabelledFilm(key, *part) for part in parts]


def stack_labelled(
    stack_targets: Callable[[Sequence[T]], Targets], films: Sequence[Sequence[LabelledFilm[T]]]
) -> LabelledBatch:
    """Collate films or parts of films into a batch, grouped by grid.

    Args:
        stack_targets: combines the targets.
        films: of each drawn film, its parts.

    Returns:
        The batch; groups are in the order of their first film.
    """
    groups: dict[tuple[int, int], list[LabelledFilm[T]]] = {}
    for film in (part for parts in films for part in parts):
        groups.setdefault(grid_of(len(film.patches.coords), film.patches.size), []).append(film)
    ordered = [film for group in groups.values() for film in group]
    return LabelledBatch(
        tuple(stack([film.patches for film in group]) for group in groups.values()),
        stack_targets([film.target for film in ordered]),
        tuple(film.key for film in ordered),
    )


def labelled_batches(
    take: TakeLabelled[T],
    stack_targets: Callable[[Sequence[T]], Targets],
    order: Order,
    steps: StepRange,
    *,
    workers: int,
) -> Iterator[tuple[LabelledBatch, tuple[str, ...]]]:
    """Micro batches of labelled films.

    Args:
        take: draws one film with its target.
        stack_targets: combines the targets of a batch.
        order: of the training films.
        steps: optimiser steps, rank and micro batch size.
        workers: processes that read ahead; 0 reads in this process.

    Returns:
        Each batch, and why other films were skipped for it.
    """
    draws = partial(order.micro_batches, steps)
    stack_films = partial(stack_labelled, stack_targets)
    return drawn_batches(take.index, take, stack_films, draws, seed=order.seed, workers=workers)
