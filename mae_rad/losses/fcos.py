"""Losses of a box head: which place answers for which box, and how wrong it is (FCOS, Tian et al. 2019).

Focal loss for the labels of every place, generalised overlap for the boxes and cross entropy for their predicted
overlap at the places that answer for a box. Deviations from the paper: a box in which no place lies is answered for by
the place nearest to its middle; a film may be silent about a label, or about a part of the picture; and the loss is a
mean over films, not over the places that answer in a batch, so that it is the same however a batch is divided.

Legend: B films, P places, M boxes of a film, L labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

CENTRE_RADIUS = 1.5
"""Cells around the middle of a box whose places answer for it."""

REACH = (4.0, 8.0)
"""Cells from a place to the farthest side of a box of its map: more is for a coarser map, less for a finer one."""

ANSWERS = 8.0
"""Places that answer for the boxes of a film, in round numbers: what the losses of a film are divided by."""

NOBODY = -1

IGNORED = -2


class Places(NamedTuple):
    """Where predictions are made: the middles of the cells of all maps.

    Attributes:
        points: [P, 2] (x, y) in pixels.
        strides: [P] pixels per cell.
    """

    points: Tensor
    strides: Tensor


class Predictions(NamedTuple):
    """Before any choice.

    Attributes:
        logits: [B, P, L] of each label.
        distances: [B, P, 4] from the place to the left, upper, right and lower side, in cells.
        fit: [B, P] logit of the overlap of the box with its object.
        places: of all films, which have equal grids.
        size: (width, height) of the films in pixels.
    """

    logits: Tensor
    distances: Tensor
    fit: Tensor
    places: Places
    size: tuple[int, int]

    def corners(self) -> Tensor:
        """[B, P, 4] boxes in pixels."""
        reach = self.distances.float() * self.places.strides[:, None]
        return torch.cat((self.places.points - reach[..., :2], self.places.points + reach[..., 2:]), dim=-1)


class BoxTargets(NamedTuple):
    """What is to be found on one film.

    Attributes:
        corners: [M, 4] in pixels of the view.
        labels: [M] number of the label; -1 is a box about which nothing is asked, such as one cut off at the view.
        weights: [L] what each label counts; 0 where not all of its boxes on this film are told.
    """

    corners: Tensor
    labels: Tensor
    weights: Tensor


class BoxLosses(NamedTuple):
    """[] each, with gradient: the mean over films of what a film costs."""

    label: Tensor
    box: Tensor
    fit: Tensor


def box_losses(predictions: Predictions, targets: Sequence[BoxTargets]) -> BoxLosses:
    """The three losses of films of one grid."""
    places, labels = predictions.places, predictions.logits.shape[-1]
    answers = torch.stack([answering(places, target) for target in targets])
    wanted, weight = _wanted(answers, targets, labels)
    focal = sigmoid_focal_loss(predictions.logits.float(), wanted, reduction="none")
    film, place = torch.nonzero(answers >= 0, as_tuple=True)
    share = 1 / (ANSWERS * len(targets))
    true = torch.cat([target.corners[own[own >= 0]] for target, own in zip(targets, answers, strict=True)])
    true = _reaching(true, places.points[place], places.strides[place])
    guess = predictions.corners()[film, place]
    overlap = paired_box_iou(guess.detach(), true)
    return BoxLosses(
        (focal * weight).sum() * share,
        generalized_box_iou_loss(guess, true, reduction="sum") * share,
        binary_cross_entropy_with_logits(predictions.fit[film, place].float(), overlap, reduction="sum") * share,
    )


@torch.no_grad()
def answering(places: Places, target: BoxTargets) -> Tensor:
    """[P] which box each place answers for; NOBODY is background, IGNORED is left out.

    A place answers for a box in which it lies, near whose middle it is, and whose sides are within the reach of its
    map; of several, for the smallest.
    """
    none = torch.full((len(places.points),), NOBODY, device=places.points.device)
    if len(target.corners) == 0:
        return none
    corners, strides = target.corners, places.strides[:, None]
    sides = torch.cat((places.points[:, None] - corners[None, :, :2], corners[None, :, 2:] - places.points[:, None]), 2)
    inside, farthest = sides.amin(dim=2) > 0, sides.amax(dim=2)
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    away = (places.points[:, None] - middle[None]).abs().amax(dim=2)
    finest, coarsest = places.strides.min(), places.strides.max()
    able = inside & (away < CENTRE_RADIUS * strides)
    able &= (farthest > REACH[0] * strides) | (strides == finest)
    able &= (farthest < REACH[1] * strides) | (strides == coarsest)
    asked = target.labels >= 0
    extent = (corners[:, 2:] - corners[:, :2]).prod(dim=1)
    choice = torch.where(able & asked, extent, torch.inf)
    smallest, box = choice.min(dim=1)
    answers = torch.where(smallest < torch.inf, box, none)
    silent = (inside & ~asked).any(dim=1)
    answers[silent & (answers == NOBODY)] = IGNORED
    for number in torch.nonzero(asked & ~able.any(dim=0)).flatten().tolist():  # small or thin: no place lies in it
        half = (corners[number, 2:] - corners[number, :2]).max() / 2
        nearest = torch.where(places.strides == _map_of(half, places.strides), away[:, number], torch.inf).argmin()
        answers[nearest] = number
    return answers


def _map_of(half: Tensor, strides: Tensor) -> Tensor:
    """Stride of the map whose reach a box of this half side is in."""
    levels: Tensor = torch.unique(strides)
    fitting = levels[half < REACH[1] * levels]
    return fitting[0] if len(fitting) else levels[-1]


def _wanted(answers: Tensor, targets: Sequence[BoxTargets], labels: int) -> tuple[Tensor, Tensor]:
    """[B, P, L] label of every place, and its weight: 0 where nothing is known."""
    wanted = torch.zeros((*answers.shape, labels), device=answers.device)
    weight = (answers != IGNORED)[..., None] * torch.stack([target.weights for target in targets])[:, None]
    for film, (own, target) in enumerate(zip(answers, targets, strict=True)):
        place = torch.nonzero(own >= 0).flatten()
        wanted[film, place, target.labels[own[place]]] = 1.0
    return wanted, weight


def _reaching(corners: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes grown by what it takes to hold the place that answers for them: no side of a box is behind its place."""
    rim = (0.01 * strides)[:, None]
    return torch.cat((torch.minimum(corners[:, :2], points - rim), torch.maximum(corners[:, 2:], points + rim)), dim=1)


def paired_box_iou(first: Tensor, second: Tensor) -> Tensor:
    """[K] intersection over union of each box of ``first`` [K, 4] with that of ``second`` [K, 4] in its place."""
    extent = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = extent.clamp(min=0).prod(dim=1)
    total = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    return shared / (total - shared).clamp(min=1e-6)
