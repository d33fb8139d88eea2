"""Labelled films in batches. Films have different grids, and none is padded: a batch is a few groups of equal grid.

What a batch costs and teaches is then the same however it is divided, and a film gives what it gives alone. A ViT takes
the groups together; only its attention works group by group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from mae_rad.data.augmentation import Augmentation, Variation, draw_variation
from mae_rad.data.batch import Patches
from mae_rad.data.film import Film
from mae_rad.data.film_order import Draw, Order, StepRange
from mae_rad.data.loader import drawn_batches
from mae_rad.data.patch_layout import grid_of
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import FilmPatches, stack, whole_film
from mae_rad.encoders.vit import Features

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Targets(Protocol):
    """What is known of the films of a batch."""

    def to(self, device: Any) -> "Targets":
        """Copy to ``device``."""

    def pin_memory(self) -> "Targets":
        """Copy to page-locked memory."""


Group = Patches | Features
"""Films of one grid: as patches, or as what a frozen encoder has made of them."""


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of labelled films.

    Attributes:
        groups: the films, grid by grid.
        targets: in the same order.
        keys: in the same order.
    """

    groups: tuple[Group, ...]
    targets: Targets
    keys: tuple[str, ...]

    def to(self, device: torch.device) -> "LabelledBatch":
        """Copy to ``device``."""
        groups = tuple(on_device(group, device) for group in self.groups)
        return LabelledBatch(groups, self.targets.to(device), self.keys)

    def pin_memory(self) -> "LabelledBatch":
        """Copy to page-locked memory, from where copies to a GPU run beside the arithmetic."""
        groups = tuple(type(group)(*(part.pin_memory() for part in group)) for group in self.groups)
        return LabelledBatch(groups, self.targets.pin_memory(), self.keys)


def on_device(group: Group, device: torch.device) -> Group:
    """A copy of ``group`` on ``device``."""
    return type(group)(*(part.to(device, non_blocking=True) for part in group))


class Seen(NamedTuple):
    """A film, and how it is shown this once: varied, its content scaled to ``tokens`` patches."""

    film: Film
    variation: Variation
    tokens: int


class Target(Protocol[T_co]):
    """What a task wants to know of one film; it travels to the workers."""

    def __call__(self, row: int, seen: Seen | None) -> T_co:
        """The target of the film in ``row``; of an unvaried film that is not at hand where ``seen`` is None."""


class Cut(Protocol[T]):
    """Cuts parts out of a film, with what is known of them; it travels to the workers."""

    def __call__(self, patches: FilmPatches, target: T, generator: np.random.Generator) -> list[tuple[FilmPatches, T]]:
        """Parts that are whole rectangles of patches, equally many of every film."""


@dataclass(frozen=True)
class LabelledFilm(Generic[T]):
    """One film, or a part of it, before collation."""

    key: str
    patches: FilmPatches
    target: T


@dataclass(frozen=True)
class TakeLabelled(Generic[T]):
    """Shows whole films, or what ``cut`` cuts out of them, each varied as ``augmentation`` and ``scale`` allow."""

    index: ShardIndex
    target: Target[T]
    cut: Cut[T] | None
    augmentation: Augmentation
    tokens: int
    patch: int
    seed: int
    scale: float = 0.0

    def __call__(self, row: int, draw: Draw) -> list[LabelledFilm[T]]:
        """Show a film as it is drawn."""
        key, film = self.index.key(row), self.index.film(row)
        variation = draw_variation(
            self.augmentation, film.sidecar, generator_for("view", self.seed, draw.epoch, key, "film")
        )
        place = float(generator_for("scale", self.seed, draw.epoch, key).uniform(-1, 1))
        tokens = round(self.tokens * (1 + self.scale) ** (2 * place))  # twice, since T is an area
        patches = whole_film(film, tokens, self.patch, variation)
        target = self.target(row, Seen(film, variation, tokens))
        if not self.cut:
            return [LabelledFilm(key, patches, target)]
        parts = self.cut(patches, target, generator_for("cut", self.seed, draw.epoch, key))
        return [LabelledFilm(key, *part) for part in parts]


def stack_labelled(
    stack_targets: Callable[[Sequence[T]], Targets], shown: Sequence[Sequence[LabelledFilm[T]]]
) -> LabelledBatch:
    """What is shown of films as a batch: what has one grid together, the grids in the order of their first film."""
    groups: dict[tuple[int, int], list[LabelledFilm[T]]] = {}
    for film in (part for parts in shown for part in parts):
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
        stack_targets: targets of several films as those of a batch.
        order: of the training films.
        steps: and the rank that they are drawn for.
        workers: processes that read ahead; 0 reads in this one.

    Returns:
        Each batch, and why other films were skipped for it.
    """
    draws = partial(order.micro_batches, steps)
    stack_films = partial(stack_labelled, stack_targets)
    return drawn_batches(take.index, take, stack_films, draws, seed=order.seed, workers=workers)
