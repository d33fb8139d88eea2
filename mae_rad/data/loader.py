"""Load training batches: the same films in the same order for any number of ranks and workers."""

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
from mae_rad.data.worker_start import initialise_worker, processes
from mae_rad.errors import ShardFormatError, StorageError, UserError

B = TypeVar("B")

TOO_FEW_PATCHES, NO_SPACING = "has too few patches", "has no usable pixel spacing"
"""In the reason of a skipped film that is whole; all other reasons are of films that cannot be read."""
MAX_CONSECUTIVE_SKIPS = 16
"""Number of consecutive unusable films after which the run stops."""


class FilmTransform(Protocol[T_co]):
    """Converts a film for training; it is pickled to the workers."""

    def __call__(self, row: int, draw: Draw) -> T_co:
        """Convert a film.

        Args:
            row: row of the index.
            draw: draw that it is for; a substitute has another row.

        Raises:
            FilmUnusableError: the film cannot be used.
        """


class FilmUnusableError(Exception):
    """A film cannot be used; the message names it and the reason."""


class DrawnFilms(Dataset[tuple[T, tuple[str, ...]] | UserError]):
    """Maps a :class:`Draw` to its converted film, and the reasons of films that were skipped for it.

    A film that cannot be used is replaced by another of the same shards.

    Args:
        index: films.
        transform: converts a film.
        seed: seed of the run.
    """

    def __init__(self, index: ShardIndex, transform: FilmTransform[T], *, seed: int) -> None:
        self._index, self._transform, self._seed = index, transform, seed

    def __getitems__(self, draws: Sequence[Draw]) -> list[tuple[T, tuple[str, ...]] | UserError]:
        """Convert the films of a batch, read in one batch of requests where they lie in object storage."""
        try:
            self._index.read_ahead([draw.row for draw in draws])
        except StorageError as error:
            return [error]
        return [self[draw] for draw in draws]

    def __getitem__(self, draw: Draw) -> tuple[T, tuple[str, ...]] | UserError:
        """Convert a film.

        Returns an error if MAX_CONSECUTIVE_SKIPS films in a row cannot be used, or if object storage cannot be reached:
        no film may be replaced for that, since a resumed run must draw the same films.
        """
        skipped: list[str] = []
        row = draw.row
        for attempt in range(MAX_CONSECUTIVE_SKIPS):
            try:
                return self._transform(row, draw), tuple(skipped)
            except StorageError as error:
                return error
            except (FilmUnreadableError, FilmUnusableError) as error:
                skipped.append(str(error))
            except Exception as error:  # decoders raise errors of any type; the text may quote content
                skipped.append(f"film {self._index.key(row)} cannot be loaded ({type(error).__name__})")
            # Seeded by the draw, so that any rank and worker chooses the same substitute.
            row = int(
                generator_for("substitute", self._seed, draw.epoch, draw.position, attempt).integers(len(self._index))
            )
        return ShardFormatError(
            f"{MAX_CONSECUTIVE_SKIPS} films in a row cannot be used, the last: {skipped[-1]}."
            " Check the shards with `mae-rad verify`, or lower objective.tokens, visible or predicted."
        )


@dataclass(frozen=True)
class FilmViews:
    """All views of a film, before collation.

    Attributes:
        key: film key.
        film: 63-bit hash of the film key.
        study: 63-bit hash of the study key.
        views: view name → view.
    """

    key: str
    film: int
    study: int
    views: dict[str, DrawnView]


@dataclass(frozen=True)
class DrawViews:
    """Draws the views that an objective requests.

    Attributes:
        index: films.
        views: view name → what is drawn.
        patch: patch side in pixels.
        seed: seed of the run.
        steps: number of steps of the run, or of the first segment of an extended one.
    """

    index: ShardIndex
    views: Mapping[str, ViewSpec]
    patch: int
    seed: int
    steps: int

    def __call__(self, row: int, draw: Draw) -> FilmViews:
        """Draw every view of a film."""
        key, film = self.index.key(row), self.index.film(row)
        if film.is_left_out(self.patch):
            raise FilmUnusableError(f"film {key} {NO_SPACING}")
        views: dict[str, DrawnView] = {}
        for name, spec in self.views.items():
            generator = generator_for("view", self.seed, draw.epoch, key, name)
            view = draw_view(film, spec.at(draw.step, self.steps), self.patch, generator)
            if view is None:
                raise FilmUnusableError(f"film {key} {TOO_FEW_PATCHES} for view {name}")
            views[name] = view
        return FilmViews(key, self.index.film_hash(row), self.index.study(row), views)


def stack_views(films: Sequence[FilmViews]) -> Batch:
    """Collate films into a batch."""
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
    scheduled_steps: int | None = None,
) -> Iterator[tuple[Batch, tuple[str, ...]]]:
    """Load micro batches of views for pretraining.

    Args:
        index: films.
        order: order of the films.
        views: view name → what is drawn of each film.
        steps: steps and rank to load films for.
        patch: patch side in pixels.
        workers: loader processes; 0 loads in this process.
        scheduled_steps: steps that the stages of a view's schedule are fractions of (default: ``steps.last_step``).

    Returns:
        Iterator over each batch and the reasons of films that were skipped for it.
    """
    transform = DrawViews(index, dict(views), patch, order.seed, scheduled_steps or steps.last_step)
    draws = partial(order.micro_batches, steps)
    return drawn_batches(index, transform, stack_views, draws, seed=order.seed, workers=workers)


def drawn_batches(
    index: ShardIndex,
    transform: FilmTransform[T],
    stack_films: Callable[[Sequence[T]], B],
    draws: Callable[[], Iterator[list[Draw]]],
    *,
    seed: int,
    workers: int,
) -> Iterator[tuple[B, tuple[str, ...]]]:
    """Load a batch for every list of draws.

    Args:
        index: films.
        transform: converts a film, in a worker.
        stack_films: collates converted films into a batch, in a worker.
        draws: returns an iterator over the draws of each batch.
        seed: seed of the run.
        workers: loader processes; 0 loads in this process.

    Yields:
        Each batch, and the reasons of films that were skipped for it.

    Raises:
        ShardFormatError: too many films in a row cannot be used.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    loader = DataLoader(
        DrawnFilms(index, transform, seed=seed),
        batch_sampler=_MicroBatches(draws),
        collate_fn=partial(_collate, stack_films),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=processes(workers),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=initialise_worker,
    )
    for item in loader:
        if isinstance(item, UserError):
            raise item
        batch, skipped = item
        yield batch, tuple(skipped)


def _collate(
    stack_films: Callable[[Sequence[T]], B], drawn: Sequence[tuple[T, tuple[str, ...]] | UserError]
) -> tuple[B, tuple[str, ...]] | UserError:
    """Collate in a worker; errors are returned, since a raised one would be shown as a traceback."""
    films: list[tuple[T, tuple[str, ...]]] = []
    for item in drawn:
        if isinstance(item, UserError):
            return item
        films.append(item)
    return stack_films([film for film, _ in films]), tuple(reason for _, skipped in films for reason in skipped)


class _MicroBatches:
    """The batch sampler of one rank."""

    def __init__(self, draws: Callable[[], Iterator[list[Draw]]]) -> None:
        self._draws = draws

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._draws()


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


def return_item(item: Any) -> Any:
    """Collate function of a loader whose items are batches already."""
    return item
