"""Training batches: the same films in the same order for any number of ranks and workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mae_rad.data.batch import Batch, View, ViewSpec
from mae_rad.data.film_order import Draw, Order, StepRange
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import DrawnView, T, T_co, draw_view, stack, stack_arrays
from mae_rad.data.worker_start import begin_worker, processes
from mae_rad.errors import ShardFormatError

B = TypeVar("B")

MAX_CONSECUTIVE_SKIPS = 16
"""Films in a row that may be unusable, before the run stops."""


class Take(Protocol[T_co]):
    """What is made of a film; it travels to the workers."""

    def __call__(self, row: int, draw: Draw) -> T_co:
        """Draw the film in ``row``.

        Raises:
            FilmUnusableError: it cannot be used.
        """


class FilmUnusableError(Exception):
    """A film that cannot be used: which, and why."""


class DrawnFilms(Dataset[tuple[T, tuple[str, ...]] | ShardFormatError]):
    """Maps a :class:`Draw` to what ``take`` makes of its film, and why other films were skipped for it.

    A film that cannot be used is replaced by another of the same shards.
    """

    def __init__(self, index: ShardIndex, take: Take[T], *, seed: int) -> None:
        self._index, self._take, self._seed = index, take, seed

    def __getitem__(self, draw: Draw) -> tuple[T, tuple[str, ...]] | ShardFormatError:
        """Draw a film, or the error that MAX_CONSECUTIVE_SKIPS films in a row could not be used."""
        skipped: list[str] = []
        row = draw.row
        for attempt in range(MAX_CONSECUTIVE_SKIPS):
            try:
                return self._take(row, draw), tuple(skipped)
            except (FilmUnreadableError, FilmUnusableError) as error:
                skipped.append(str(error))
            except Exception as error:  # a decoder may raise anything; the film is named, its content never quoted
                skipped.append(f"film {self._index.key(row)} cannot be drawn ({type(error).__name__})")
            # Counted, so that any rank and worker would choose the same substitute.
            row = int(
                generator_for("substitute", self._seed, draw.epoch, draw.position, attempt).integers(len(self._index))
            )
        return ShardFormatError(
            f"{MAX_CONSECUTIVE_SKIPS} films in a row cannot be used, the last: {skipped[-1]};"
            " check the shards with `python -m data_prep verify`, or lower the tokens or budgets of the views"
        )


@dataclass(frozen=True)
class FilmViews:
    """All views of one film, before collation."""

    key: str
    film: int
    study: int
    views: dict[str, DrawnView]


@dataclass(frozen=True)
class TakeViews:
    """Draws the views that an objective asks for."""

    index: ShardIndex
    views: Mapping[str, ViewSpec]
    patch: int
    seed: int
    steps: int

    def __call__(self, row: int, draw: Draw) -> FilmViews:
        """Draw every view of a film."""
        key, film = self.index.key(row), self.index.film(row)
        views: dict[str, DrawnView] = {}
        for name, spec in self.views.items():
            generator = generator_for("view", self.seed, draw.epoch, key, name)
            view = draw_view(film, spec.at(draw.step, self.steps), self.patch, generator)
            if view is None:
                raise FilmUnusableError(f"film {key} has too few patches for view {name}")
            views[name] = view
        return FilmViews(key, self.index.film_hash(row), self.index.study(row), views)


def stack_views(films: Sequence[FilmViews]) -> Batch:
    """Drawn films as a batch."""
    return Batch(
        {name: _stack_views([film.views[name] for film in films]) for name in films[0].views},
        torch.tensor([film.film for film in films]),
        torch.tensor([film.study for film in films]),
        tuple(film.key for film in films),
    )


def training_batches(
    index: ShardIndex,
    order: Order,
    views: Mapping[str, ViewSpec],
    steps: StepRange,
    *,
    patch: int,
    workers: int,
) -> Iterator[tuple[Batch, tuple[str, ...]]]:
    """Micro batches of views for pretraining.

    Args:
        index: the films.
        order: of the films.
        views: name → what is drawn of each film.
        steps: and the rank that they are drawn for.
        patch: side of a patch in pixels.
        workers: processes that read ahead; 0 reads in this one.

    Returns:
        Each batch, and why other films were skipped for it.
    """
    take = TakeViews(index, dict(views), patch, order.seed, steps.last_step)
    draws = partial(order.micro_batches, steps)
    return drawn_batches(index, take, stack_views, draws, seed=order.seed, workers=workers)


def drawn_batches(
    index: ShardIndex,
    take: Take[T],
    stack_films: Callable[[Sequence[T]], B],
    draws: Callable[[], Iterator[list[Draw]]],
    *,
    seed: int,
    workers: int,
) -> Iterator[tuple[B, tuple[str, ...]]]:
    """A batch for every list of ``draws``, and why films were skipped for it.

    Args:
        index: the films.
        take: makes something of one film, in a worker.
        stack_films: makes a batch of what ``take`` made, in a worker.
        draws: begins the lists.
        seed: of the run.
        workers: processes that read ahead.
    """
    loader = DataLoader(
        DrawnFilms(index, take, seed=seed),
        batch_sampler=_MicroBatches(draws),
        collate_fn=partial(_collate, stack_films),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=processes(workers),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=begin_worker,
    )
    for item in loader:
        if isinstance(item, ShardFormatError):
            raise item
        batch, skipped = item
        yield batch, tuple(skipped)


def _collate(
    stack_films: Callable[[Sequence[T]], B], drawn: Sequence[tuple[T, tuple[str, ...]] | ShardFormatError]
) -> tuple[B, tuple[str, ...]] | ShardFormatError:
    """An error is handed on as a value: raised in a worker it would come out as a traceback."""
    films: list[tuple[T, tuple[str, ...]]] = []
    for one in drawn:
        if isinstance(one, ShardFormatError):
            return one
        films.append(one)
    return stack_films([film for film, _ in films]), tuple(reason for _, skipped in films for reason in skipped)


class _MicroBatches:
    """The batch sampler of one rank."""

    def __init__(self, make: Callable[[], Iterator[list[Draw]]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._make()


def _stack_views(views: Sequence[DrawnView]) -> View:
    visible = stack([view.visible for view in views])
    predicted = [view.predicted for view in views if view.predicted is not None]
    content = [view.predicted_content for view in views if view.predicted_content is not None]
    masked = [np.float32(view.masked_content) for view in views if view.masked_content is not None]
    return View(
        visible,
        stack(predicted) if predicted else None,
        stack_arrays(content) if content else None,
        torch.tensor(masked) if masked else None,
    )


def as_it_is(item: Any) -> Any:
    """Collate function of a loader whose items are batches already."""
    return item
