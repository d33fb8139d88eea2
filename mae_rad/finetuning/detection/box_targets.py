"""Training targets of a detection: boxes in pixels of the view, of whole films or square crops.

Legend: K boxes of a film, L labels, R rows and S columns of patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.box_frames import Boxes, box_frame, cut_off
from mae_rad.data.views import FilmPatches
from mae_rad.encoders.vit import DISPLAY_RANGE
from mae_rad.finetuning.task.labelled_films import DrawnFilm
from mae_rad.heads.detection import FilmTargets
from mae_rad.losses.fcos import BoxTargets

CROP_AT_BOX = 0.75
"""Probability that a crop of a film with boxes is placed at one of them."""
CROP_OUTSIDE_CONTENT = 0.25
"""Share of the other crops that are placed at structures outside the content: without such examples, lead letters and
edges of the field are detected as objects."""
MIN_CONTRAST = 0.05
"""Range of the row or column means of a patch above which it counts as a structure, as a share of the display range."""
MIN_BOX_SHARE = 0.5
"""Share of a box that must lie in a crop for the box to be a target; a box with less is ignored."""


class FilmBoxes(NamedTuple):
    """Boxes of one film.

    Attributes:
        corners: [K, 4] float64 (x_min, y_min, x_max, y_max) in pixels of the view.
        labels: [K] int64 index of the label; -1 is a box that is ignored.
        weights: [L] float32 weight in the loss; 0 where the boxes of a label are not complete.
        content: [R, S] bool, patches with content.
    """

    corners: Boxes
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    content: NDArray[np.bool_]

    @property
    def points(self) -> NDArray[np.float64]:
        """[8 K, 2] (x, y) of the corners and the middles of the edges of the boxes."""
        low, high = self.corners[:, :2], self.corners[:, 2:]
        shares = [(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)]
        return np.stack([low + np.array(share) * (high - low) for share in shares], axis=1).reshape(-1, 2)

    def moved(self, points: NDArray[np.float64], size: tuple[int, int]) -> "FilmBoxes":
        """Return the upright boxes around moved points; of which too little is on the film are ignored.

        Args:
            points: [8 K, 2] moved :attr:`points`.
            size: (width, height) of the view in pixels.
        """
        of_boxes = points.reshape(-1, 8, 2)
        corners = np.concatenate([of_boxes.min(axis=1), of_boxes.max(axis=1)], axis=1)
        clipped, share = cut_off(corners, size)
        labels, is_visible = np.where(share >= MIN_BOX_SHARE, self.labels, -1), share > 0
        return self._replace(corners=clipped[is_visible], labels=labels[is_visible])


@dataclass(frozen=True)
class BoxPlacement:
    """Maps the boxes of a film into its view; picklable, called in the workers.

    Attributes:
        corners: per film [K, 4], in source raster pixels.
        labels: per film [K].
        weights: [films, L] in the loss.
        patch: side of a patch in pixels.
    """

    corners: Sequence[Boxes]
    labels: Sequence[NDArray[np.int64]]
    weights: NDArray[np.float32]
    patch: int

    def __call__(self, row: int, drawn: DrawnFilm | None) -> FilmBoxes:
        """Return the boxes of the film in ``row``, in pixels of the augmented view."""
        assert drawn is not None  # features are not cached for a detection
        film, variation, tokens = drawn
        layout = film.layout(tokens, self.patch)
        frame = box_frame(film.sidecar, layout, self.patch, mirrored=variation.mirrored)
        content = film.content(layout)
        return FilmBoxes(
            frame.from_source(self.corners[row]),
            self.labels[row],
            self.weights[row],
            content[:, ::-1] if variation.mirrored else content,
        )


@dataclass(frozen=True)
class SquareCrop:
    """Cuts square crops out of a film, with their boxes.

    The patches keep their coordinates on the film, so that the encoder gets the same positions as for the whole film.

    Attributes:
        side: of a crop, in patches, at most.
        patch: side of a patch in pixels.
        squares: number of crops of a film.
    """

    side: int
    patch: int
    squares: int = 1

    def __call__(
        self, patches: FilmPatches, target: FilmBoxes, generator: np.random.Generator
    ) -> list[tuple[FilmPatches, FilmBoxes]]:
        """Cut crops at one of the boxes, in the content, or at structures outside the content."""
        return [self._square(patches, target, generator) for _ in range(self.squares)]

    def _square(
        self, patches: FilmPatches, target: FilmBoxes, generator: np.random.Generator
    ) -> tuple[FilmPatches, FilmBoxes]:
        grid = target.content.shape
        target_boxes = np.flatnonzero(target.labels >= 0)
        choice, draw, down, across = generator.random(4).tolist()
        if len(target_boxes) and choice < CROP_AT_BOX:
            box = target.corners[target_boxes[int(draw * len(target_boxes))]] / self.patch
            middle = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
        else:
            remainder = (choice - CROP_AT_BOX) / (1 - CROP_AT_BOX) if len(target_boxes) else choice
            centres = self._candidate_centres(patches, target.content, outside_content=remainder < CROP_OUTSIDE_CONTENT)
            middle = tuple((centres[int(draw * len(centres))] + 0.5).tolist())
        extent = (min(self.side, grid[0]), min(self.side, grid[1]))
        top, left = (
            int(np.clip(round(point - share * length), 0, whole - length))
            for point, share, length, whole in zip(middle, (down, across), extent, grid, strict=True)
        )
        return self._cut(patches, target, top, left, extent)

    def _candidate_centres(
        self, patches: FilmPatches, content: NDArray[np.bool_], *, outside_content: bool
    ) -> NDArray[np.int64]:
        """[K, 2] patches (row, column) at which a crop without a chosen box may be placed; at least one."""
        if outside_content:
            pixels = patches.values.reshape(-1, self.patch, self.patch)
            # Means, so that noise does not count as a structure.
            contrast = np.max([np.ptp(pixels.mean(axis=axis), axis=1) for axis in (1, 2)], axis=0)
            marked = np.argwhere(~content & (contrast.reshape(content.shape) > MIN_CONTRAST * DISPLAY_RANGE))
            if len(marked):
                return marked
        return np.argwhere(content) if content.any() else np.argwhere(~content)

    def _cut(
        self, patches: FilmPatches, target: FilmBoxes, top: int, left: int, extent: tuple[int, int]
    ) -> tuple[FilmPatches, FilmBoxes]:
        (rows, columns), grid = extent, target.content.shape
        chosen = (np.arange(top, top + rows)[:, None] * grid[1] + np.arange(left, left + columns)).reshape(-1)
        size = patches.size * np.array((rows / grid[0], columns / grid[1]), dtype=np.float32)
        shifted = target.corners - np.array((left, top, left, top)) * self.patch
        clipped, share = cut_off(shifted, (columns * self.patch, rows * self.patch))
        labels = np.where(share >= MIN_BOX_SHARE, target.labels, -1)
        is_visible = share > 0
        return FilmPatches(patches.values[chosen], patches.coords[chosen], size), FilmBoxes(
            clipped[is_visible],
            labels[is_visible],
            target.weights,
            target.content[top : top + rows, left : left + columns],
        )


def stack_boxes(films: Sequence[FilmBoxes]) -> FilmTargets:
    """Collate the boxes of films as tensors."""
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
