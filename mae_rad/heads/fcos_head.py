"""The one-stage, anchor-free box head FCOS (Tian et al. 2019), from torchvision, on maps of a feature pyramid.

Why this head: findings are 4 to 60 pixels wide and of any aspect ratio (a wire, a plate, a ring), for which anchors
would have to be tuned; every location of every film is a training example, also of films without a finding, while a
two-stage head has few proposals; and one prediction per location is affordable on a CPU at a quarter of a patch per
cell, which small findings need.

Deviation: the branch that torchvision calls centreness predicts the overlap of its box with the object (Wu et al.
2020), since centreness is zero everywhere on an object that is one cell wide.

Legend: B films, P locations (cells of all maps), L labels, C channels, R rows and S columns of a map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import batched_nms

from mae_rad.heads.interface import Boxes
from mae_rad.losses.fcos import Places, Predictions

GROUPS = 32
"""Groups of the group norms; the channels must be a multiple."""

_PRIOR_PROBABILITY = 0.01

_MAX_CANDIDATES = 1000


class BoxHead(nn.Module):
    """FCOS on maps of equal channels.

    Args:
        channels: C.
        labels: L.
        convolutions: 3 × 3 convolutions in each branch.
    """

    def __init__(self, channels: int, labels: int, convolutions: int) -> None:
        super().__init__()
        self.fcos = FCOSHead(channels, num_anchors=1, num_classes=labels, num_convs=convolutions)
        # Initial boxes are two cells wide, not empty, so that all four sides learn from the first step.
        nn.init.ones_(self.fcos.regression_head.bbox_reg.bias)
        nn.init.constant_(
            self.fcos.classification_head.cls_logits.bias, math.log(_PRIOR_PROBABILITY / (1 - _PRIOR_PROBABILITY))
        )

    def forward(self, maps: Sequence[Tensor], strides: Sequence[float], size: tuple[int, int]) -> Predictions:
        """Predict labels and boxes at every cell.

        Args:
            maps: [B, C, R, S] each, finest first.
            strides: pixels per cell of each map.
            size: (width, height) of the films in pixels.

        Returns:
            Predictions before any selection.
        """
        out = self.fcos(list(maps))
        fit = out["bbox_ctrness"].squeeze(2)
        return Predictions(out["cls_logits"], out["bbox_regression"], fit, cell_centres(maps, strides), size)


def cell_centres(maps: Sequence[Tensor], strides: Sequence[float]) -> Places:
    """Compute the centres of all cells, map by map and row by row.

    Args:
        maps: [B, C, R, S] each.
        strides: pixels per cell of each map.

    Returns:
        Centres and strides of P locations.
    """
    points, strides_per_point = [], []
    for cells, stride in zip(maps, strides, strict=True):
        down, across = (
            (torch.arange(side, device=cells.device, dtype=torch.float32) + 0.5) * stride for side in cells.shape[-2:]
        )
        points.append(torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).flatten(0, 1))
        strides_per_point.append(points[-1].new_full((len(points[-1]),), stride))
    return Places(torch.cat(points), torch.cat(strides_per_point))


@torch.no_grad()
def choose_boxes(predictions: Predictions, *, least: float, overlap: float, most: int) -> list[Boxes]:
    """Select boxes by score and non-maximum suppression per label.

    Boxes are clipped to the film, and empty ones are discarded.

    Args:
        predictions: of B films.
        least: lowest score, in [0, 1).
        overlap: largest intersection over union of two boxes of a label.
        most: number of boxes of a film, at most.

    Returns:
        Boxes per film, in descending order of the score.
    """
    corners = predictions.corners()
    limits = corners.new_tensor(predictions.size * 2)
    corners = torch.minimum(corners.clamp(min=0), limits)
    scores = (predictions.logits.float().sigmoid() * predictions.fit.float().sigmoid()[..., None]).sqrt()
    chosen = []
    for film_corners, film_scores in zip(corners, scores, strict=True):
        top_scores, flat_index = film_scores.flatten().topk(min(_MAX_CANDIDATES, film_scores.numel()))
        flat_index = flat_index[top_scores > least]
        top_scores = top_scores[top_scores > least]
        location, label = flat_index // film_scores.shape[1], flat_index % film_scores.shape[1]
        boxes = film_corners[location]
        has_area = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, top_scores, label = boxes[has_area], top_scores[has_area], label[has_area]
        kept = batched_nms(boxes, top_scores, label, overlap)[:most]
        chosen.append(Boxes(boxes[kept], top_scores[kept], label[kept]))
    return chosen
