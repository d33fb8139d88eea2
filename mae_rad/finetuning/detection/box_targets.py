"""Films with their boxes as training sees them: boxes in the pixels of the view, or a square cut out where boxes are.

Legend: K boxes of a film, L labels, R rows and S columns of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.box_frames import Boxes, box_frame, cut_off
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.views import FilmPatches
from mae_rad.encoders.vit import DISPLAY_RANGE
from mae_rad.finetuning.task.labelled_films import Seen
from mae_rad.heads.detection import FilmTargets
from mae_rad.losses.fcos import BoxTargets

AT_A_BOX = 0.75
"""Probability that a crop of a film with boxes is cut where one of them is."""
BESIDE = 0.25
"""Share of the other squares that are cut where something is shown beside the content: lead letters and edges of the
field look like objects to whoever has never met them."""
SHOWN = 0.05
"""Of the display range: rows or columns of a patch that shows something differ by more in their mean."""
WHOLE_ENOUGH = 0.5
"""Share of a box that a crop must hold for the box to be asked for; about less nothing is asked."""


class FilmBoxes(NamedTuple):
    """What is to be found on one film.

    Attributes:
        corners: [K, 4] in pixels of the view.
        labels: [K] place of the label; -1 is a box about which nothing is asked.
        weights: [L] what each label counts; 0 where not all of its boxes are told.
        content: [R, S] which patches show content.
    """

    corners: Boxes
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    content: NDArray[np.bool_]


@dataclass(frozen=True)
class PlaceBoxes:
    """Maps the boxes of a film into the view of it; it travels to the workers.

    Attributes:
        corners: of each film, in source raster pixels.
        labels: of each film's boxes.
        weights: [films, L].
        patch: side of a patch.
    """

    corners: Sequence[Boxes]
    labels: Sequence[NDArray[np.int64]]
    weights: NDArray[np.float32]
    patch: int

    def __call__(self, row: int, seen: Seen | None) -> FilmBoxes:
        """The boxes of the film in ``row`` as it is varied."""
        assert seen is not None  # boxes are placed on a picture
        film, variation, tokens = seen
        layout = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, tokens, self.patch)
        frame = box_frame(film.sidecar, layout, self.patch, mirrored=variation.mirrored)
        content = film.content(layout)
        return FilmBoxes(
            frame.from_source(self.corners[row]),
            self.labels[row],
            self.weights[row],
            content[:, ::-1] if variation.mirrored else content,
        )


@dataclass(frozen=True)
class CutSquare:
    """Cuts squares of at most ``side`` × ``side`` patches out of a film, with their boxes.

    The patches keep their places on the film, so that the encoder sees what it sees on the whole of it.
    """

    side: int
    patch: int
    squares: int = 1

    def __call__(
        self, patches: FilmPatches, target: FilmBoxes, generator: np.random.Generator
    ) -> list[tuple[FilmPatches, FilmBoxes]]:
        """Squares around one of the boxes, at any place in it; or anywhere in the content; or beside the content."""
        return [self._square(patches, target, generator) for _ in range(self.squares)]

    def _square(
        self, patches: FilmPatches, target: FilmBoxes, generator: np.random.Generator
    ) -> tuple[FilmPatches, FilmBoxes]:
        grid = target.content.shape
        asked = np.flatnonzero(target.labels >= 0)
        kind, which, down, across = generator.random(4).tolist()
        if len(asked) and kind < AT_A_BOX:
            box = target.corners[asked[int(which * len(asked))]] / self.patch
            middle = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
        else:
            rest = (kind - AT_A_BOX) / (1 - AT_A_BOX) if len(asked) else kind
            places = self._places(patches, target.content, beside=rest < BESIDE)
            middle = tuple((places[int(which * len(places))] + 0.5).tolist())
        extent = (min(self.side, grid[0]), min(self.side, grid[1]))
        top, left = (
            int(np.clip(round(point - share * length), 0, whole - length))
            for point, share, length, whole in zip(middle, (down, across), extent, grid, strict=True)
        )
        return self._cut(patches, target, top, left, extent)

    def _places(self, patches: FilmPatches, content: NDArray[np.bool_], *, beside: bool) -> NDArray[np.int64]:
        """[K, 2] patches (row, column) around which a square without a wanted box may be cut; at least one."""
        if beside:
            pixels = patches.values.reshape(-1, self.patch, self.patch)
            # Of means, so that noise shows nothing.
            reach = np.max([np.ptp(pixels.mean(axis=axis), axis=1) for axis in (1, 2)], axis=0)
            shown = np.argwhere(~content & (reach.reshape(content.shape) > SHOWN * DISPLAY_RANGE))
            if len(shown):
                return shown
        return np.argwhere(content) if content.any() else np.argwhere(~content)

    def _cut(
        self, patches: FilmPatches, target: FilmBoxes, top: int, left: int, extent: tuple[int, int]
    ) -> tuple[FilmPatches, FilmBoxes]:
        (rows, columns), grid = extent, target.content.shape
        chosen = (np.arange(top, top + rows)[:, None] * grid[1] + np.arange(left, left + columns)).reshape(-1)
        size = patches.size * np.array((rows / grid[0], columns / grid[1]), dtype=np.float32)
        moved = target.corners - np.array((left, top, left, top)) * self.patch
        inside, share = cut_off(moved, (columns * self.patch, rows * self.patch))
        labels = np.where(share >= WHOLE_ENOUGH, target.labels, -1)
        seen = share > 0
        return FilmPatches(patches.values[chosen], patches.coords[chosen], size), FilmBoxes(
            inside[seen], labels[seen], target.weights, target.content[top : top + rows, left : left + columns]
        )


def stack_boxes(films: Sequence[FilmBoxes]) -> FilmTargets:
    """The targets of films as tensors."""
    return FilmTargets(
        tuple(
            BoxTargets(
                torch.from_numpy(film.corners.astype(np.float32)),
                torch.from_numpy(np.asarray(film.labels, dtype=np.int64)),
                torch.from_numpy(film.weights),
            )
            for film in films
        )
    )
