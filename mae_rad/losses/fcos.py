"""Losses of the FCOS box head (Tian et al. 2019), and the assignment of boxes to locations.

Focal loss for the labels of all locations, generalised intersection over union for the boxes, and cross-entropy for
their predicted overlap at the locations to which a box is assigned. Deviations from the paper: a box without a location
inside is assigned to the location nearest to its centre; labels and regions of a film may be unknown; and the loss is a
mean over films, not over the assigned locations of a batch, so that it is the same for any division of the batch.

Legend: B films, P locations, M boxes of a film, L labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

CENTRE_RADIUS = 1.5
"""Largest distance of a location from the centre of its box, in cells."""

SIZE_RANGE = (4.0, 8.0)
"""Range of the distance from a location to the farthest side of its box, in cells of its map."""

LOCATIONS_PER_FILM = 8.0
"""Typical number of locations with a box on a film; the losses of a film are divided by it."""

BACKGROUND = -1

IGNORED = -2


class Places(NamedTuple):
    """Locations of predictions: the centres of the cells of all maps.

    Attributes:
        points: [P, 2] (x, y) in pixels.
        strides: [P] pixels per cell.
    """

    points: Tensor
    strides: Tensor


class Predictions(NamedTuple):
    """Predictions at all locations, before any selection.

    Attributes:
        logits: [B, P, L] of each label.
        distances: [B, P, 4] from the location to the left, upper, right and lower side, in cells.
        fit: [B, P] logit of the intersection over union of the box with its object.
        places: P locations, the same for all films.
        size: (width, height) of the films in pixels.
    """

    logits: Tensor
    distances: Tensor
    fit: Tensor
    places: Places
    size: tuple[int, int]

    def corners(self) -> Tensor:
        """Boxes [B, P, 4] (x_min, y_min, x_max, y_max) in pixels."""
        reach = self.distances.float() * self.places.strides[:, None]
        return torch.cat((self.places.points - reach[..., :2], self.places.points + reach[..., 2:]), dim=-1)


class BoxTargets(NamedTuple):
    """Boxes of one film.

    Attributes:
        corners: [M, 4] in pixels of the view.
        labels: [M] int64 index of the label; -1 is a box that is ignored, such as one mostly outside the view.
        weights: [L] weight in the loss; 0 where the boxes of a label are not complete.
    """

    corners: Tensor
    labels: Tensor
    weights: Tensor


class BoxLosses(NamedTuple):
    """Losses [] with gradient, each a mean over films."""

    label: Tensor
    box: Tensor
    fit: Tensor


def box_losses(predictions: Predictions, targets: Sequence[BoxTargets]) -> BoxLosses:
    """Compute the losses of films of one grid.

    Args:
        predictions: of B films.
        targets: of the B films.

    Returns:
        Losses of labels, boxes and predicted overlap.
    """
    places, labels = predictions.places, predictions.logits.shape[-1]
    assignment = torch.stack([assign_boxes(places, target) for target in targets])
    label_targets, weight = _label_targets(assignment, targets, labels)
    focal = sigmoid_focal_loss(predictions.logits.float(), label_targets, reduction="none")
    film, location = torch.nonzero(assignment >= 0, as_tuple=True)
    scale = 1 / (LOCATIONS_PER_FILM * len(targets))
    true = torch.cat(
        [
            target.corners[film_assignment[film_assignment >= 0]]
            for target, film_assignment in zip(targets, assignment, strict=True)
        ]
    )
    true = _enclose_locations(true, places.points[location], places.strides[location])
    predicted_corners = predictions.corners()[film, location]
    overlap = paired_box_iou(predicted_corners.detach(), true)
    return BoxLosses(
        (focal * weight).sum() * scale,
        generalized_box_iou_loss(predicted_corners, true, reduction="sum") * scale,
        binary_cross_entropy_with_logits(predictions.fit[film, location].float(), overlap, reduction="sum") * scale,
    )


@torch.no_grad()
def assign_boxes(places: Places, target: BoxTargets) -> Tensor:
    """Assign boxes to locations.

    A box is assigned to the locations inside it, near its centre, on the map of its size; of several boxes at a
    location, the smallest one.

    Args:
        places: P locations.
        target: boxes of a film.

    Returns:
        [P] int64 index of the box; BACKGROUND without one, IGNORED in a box that is ignored.
    """
    background = torch.full((len(places.points),), BACKGROUND, device=places.points.device)
    if len(target.corners) == 0:
        return background
    corners, strides = target.corners, places.strides[:, None]
    side_distances = torch.cat(
        (places.points[:, None] - corners[None, :, :2], corners[None, :, 2:] - places.points[:, None]), 2
    )
    inside, farthest = side_distances.amin(dim=2) > 0, side_distances.amax(dim=2)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    distance = (places.points[:, None] - centre[None]).abs().amax(dim=2)
    finest, coarsest = places.strides.min(), places.strides.max()
    is_candidate = inside & (distance < CENTRE_RADIUS * strides)
    is_candidate &= (farthest > SIZE_RANGE[0] * strides) | (strides == finest)
    is_candidate &= (farthest < SIZE_RANGE[1] * strides) | (strides == coarsest)
    is_target = target.labels >= 0
    area = (corners[:, 2:] - corners[:, :2]).prod(dim=1)
    candidate_area = torch.where(is_candidate & is_target, area, torch.inf)
    smallest, box = candidate_area.min(dim=1)
    assignment = torch.where(smallest < torch.inf, box, background)
    in_ignored_box = (inside & ~is_target).any(dim=1)
    assignment[in_ignored_box & (assignment == BACKGROUND)] = IGNORED
    has_no_location = is_target & ~is_candidate.any(dim=0)  # small or thin boxes
    for box_index in torch.nonzero(has_no_location).flatten().tolist():
        half_side = (corners[box_index, 2:] - corners[box_index, :2]).max() / 2
        nearest = torch.where(
            places.strides == _stride_of_size(half_side, places.strides), distance[:, box_index], torch.inf
        ).argmin()
        assignment[nearest] = box_index
    return assignment


def _stride_of_size(half_side: Tensor, strides: Tensor) -> Tensor:
    """Stride of the map for boxes of this half side in pixels."""
    levels: Tensor = torch.unique(strides)
    fitting = levels[half_side < SIZE_RANGE[1] * levels]
    return fitting[0] if len(fitting) else levels[-1]


def _label_targets(assignment: Tensor, targets: Sequence[BoxTargets], labels: int) -> tuple[Tensor, Tensor]:
    """Label targets [B, P, L], and their weights [B, P, L], 0 where unknown."""
    label_targets = torch.zeros((*assignment.shape, labels), device=assignment.device)
    weight = (assignment != IGNORED)[..., None] * torch.stack([target.weights for target in targets])[:, None]
    for film, (film_assignment, target) in enumerate(zip(assignment, targets, strict=True)):
        location = torch.nonzero(film_assignment >= 0).flatten()
        label_targets[film, location, target.labels[film_assignment[location]]] = 1.0
    return label_targets, weight


def _enclose_locations(corners: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Enlarge boxes to contain their locations, so that no distance to a side is negative."""
    rim = (0.01 * strides)[:, None]
    return torch.cat((torch.minimum(corners[:, :2], points - rim), torch.maximum(corners[:, 2:], points + rim)), dim=1)


def paired_box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection over union of pairs of boxes.

    Args:
        first: [K, 4] boxes.
        second: [K, 4] boxes, in the same pixels.

    Returns:
        [K] in [0, 1].
    """
    area = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = area.clamp(min=0).prod(dim=1)
    total = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    return shared / (total - shared).clamp(min=1e-6)
