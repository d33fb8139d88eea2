"""Load training batches: the same films in the same order for any number of ranks and workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mae_rad.data.batch import Batch, Members, Meta, View, ViewSpec
from mae_rad.data.film import Film
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
            rows = [row for draw in draws for row in (draw.row, draw.partner) if row is not None]
            self._index.read_ahead(list(dict.fromkeys(rows)))
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
    """All views of a draw, before collation.

    Attributes:
        key: key of the film.
        step: optimiser step, counted from 0.
        position: position of the draw.
        views: view name → view.
        shown: view name → (film, study, patient) that it shows, as numbers of the index.
    """

    key: str
    step: int
    position: int
    views: dict[str, DrawnView]
    shown: dict[str, tuple[int, int, int]]


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
        """Draw every view of a film; those of a partner that cannot be used show the film itself."""
        own = {name: spec for name, spec in self.views.items() if not spec.partner}
        others = {name: spec for name, spec in self.views.items() if spec.partner}
        views, shown = self._draw(row, own, draw, draw.again), row
        if others and row == draw.row and draw.partner not in (None, row):  # a substitute is its own partner
            try:
                views |= self._draw(draw.partner, others, draw, True)
                shown = draw.partner
            except StorageError:
                raise
            except Exception:  # decoders raise errors of any type
                pass
        if others and shown == row:
            views |= self._draw(row, others, draw, draw.again)
        identities = {name: self._identity(shown if spec.partner else row) for name, spec in self.views.items()}
        return FilmViews(
            self.index.key(row), draw.step, draw.position, {name: views[name] for name in self.views}, identities
        )

    def _draw(self, row: int, specs: Mapping[str, ViewSpec], draw: Draw, by_position: bool) -> dict[str, DrawnView]:
        """Draw views of one film; a further draw of it in the epoch is seeded by its position, too."""
        key, film = self.index.key(row), self.index.film(row)
        parts = (draw.position,) if by_position else ()
        specs = {name: spec.at(draw.step, self.steps) for name, spec in specs.items()}
        return draw_views(key, film, specs, self.patch, "view", self.seed, draw.epoch, *parts)

    def _identity(self, row: int) -> tuple[int, int, int]:
        return row, self.index.study(row), self.index.patient(row)


def draw_views(
    key: str, film: Film, specs: Mapping[str, ViewSpec], patch: int, *seed: str | int
) -> dict[str, DrawnView]:
    """Draw views of a film.

    Args:
        key: key of the film.
        film: its bytes and sidecar.
        specs: view name → what is drawn, at the T of the step.
        patch: patch side in pixels.
        seed: parts of the seed of each view, to which key and name of the view are added.

    Returns:
        View name → view.

    Raises:
        FilmUnusableError: the film has too few patches, or no pixel spacing where the scale needs it.
    """
    if film.is_left_out(patch):
        raise FilmUnusableError(f"film {key} {NO_SPACING}")
    views: dict[str, DrawnView] = {}
    for name, spec in specs.items():
        view = draw_view(film, spec, patch, generator_for(*seed, key, name))
        if view is None:
            raise FilmUnusableError(f"film {key} {TOO_FEW_PATCHES} for view {name}")
        views[name] = view
    return views


def stack_views(films: Sequence[FilmViews]) -> Batch:
    """Collate draws into a batch, without what is known of the films."""
    position = torch.tensor([film.position for film in films])
    members = {}
    for number, name in enumerate(films[0].views):
        identities = torch.tensor([film.shown[name] for film in films])
        members[name] = Members(position, torch.full_like(position, number), *identities.unbind(dim=1))
    return Batch(
        {name: _stack_views([film.views[name] for film in films]) for name in films[0].views},
        tuple(film.key for film in films),
        members,
        step=films[0].step,
    )


def with_columns(batch: Batch, columns: Mapping[str, Tensor], scheduled_steps: int) -> Batch:
    """Add to a batch what is known of its films, and the progress of the run.

    Args:
        batch: as collated in a worker.
        columns: column → [films, …] values by row of the index.
        scheduled_steps: steps of the run without extensions.
    """
    meta: dict[str, Meta] = {
        name: {column: values[members.film] for column, values in columns.items()}
        for name, members in batch.members.items()
    }
    return replace(batch, meta=meta, progress=min(batch.step / scheduled_steps, 1.0))


def training_batches(
    index: ShardIndex,
    order: Order,
    views: Mapping[str, ViewSpec],
    steps: StepRange,
    *,
    patch: int,
    workers: int,
    scheduled_steps: int | None = None,
    columns: Mapping[str, Tensor] | None = None,
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
        columns: column → [films, …] values by row of the index; may be changed between batches.

    Yields:
        Each batch and the reasons of films that were skipped for it.
    """
    scheduled = scheduled_steps or steps.last_step
    transform = DrawViews(index, dict(views), patch, order.seed, scheduled)
    draws = partial(order.micro_batches, steps)
    for batch, skipped in drawn_batches(index, transform, stack_views, draws, seed=order.seed, workers=workers):
        yield with_columns(batch, columns or {}, scheduled), skipped


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
