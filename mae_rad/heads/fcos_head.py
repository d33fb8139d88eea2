"""Maps of a feature pyramid → boxes: the one-stage, anchor-free head FCOS (Tian et al. 2019), from torchvision.

Why this head: findings are 4 to 60 pixels and of any proportion (a wire, a plate, a ring), so there are no anchors
that would have to fit them; every place of every film, also of the films without a finding, teaches it, where a
two-stage head learns from few proposals; and at a quarter of a patch per cell, which small findings need, one
prediction per place is what a CPU can afford.

Deviation: the branch that torchvision calls centreness learns how well its box fits (Wu et al. 2020). Centreness is
zero all over an object that is one cell wide.

Legend: B films, P places of all maps, L labels.
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
"""Groups of the head's norms: its channels are a multiple of that."""

_PRIOR = 0.01

_TOP = 1000


class BoxHead(nn.Module):
    """FCOS on maps of equal channels."""

    def __init__(self, channels: int, labels: int, convolutions: int) -> None:
        super().__init__()
        self.fcos = FCOSHead(channels, num_anchors=1, num_classes=labels, num_convs=convolutions)
        # A first box is two cells wide, not empty: from there every side can learn at once.
        nn.init.ones_(self.fcos.regression_head.bbox_reg.bias)
        nn.init.constant_(self.fcos.classification_head.cls_logits.bias, math.log(_PRIOR / (1 - _PRIOR)))

    def forward(self, maps: Sequence[Tensor], strides: Sequence[int], size: tuple[int, int]) -> Predictions:
        """Predict at every cell of ``maps`` [B, C, R, S], finest first, of films of ``size`` (width, height)."""
        out = self.fcos(list(maps))
        fit = out["bbox_ctrness"].squeeze(2)
        return Predictions(out["cls_logits"], out["bbox_regression"], fit, places_of(maps, strides), size)


def places_of(maps: Sequence[Tensor], strides: Sequence[int]) -> Places:
    """The middles of all cells, map by map and row by row."""
    points, sizes = [], []
    for cells, stride in zip(maps, strides, strict=True):
        down, across = (
            (torch.arange(side, device=cells.device, dtype=torch.float32) + 0.5) * stride for side in cells.shape[-2:]
        )
        points.append(torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).flatten(0, 1))
        sizes.append(points[-1].new_full((len(points[-1]),), stride))
    return Places(torch.cat(points), torch.cat(sizes))


@torch.no_grad()
def choose_boxes(predictions: Predictions, *, least: float, overlap: float, most: int) -> list[Boxes]:
    """The boxes of each film that stand: sure enough, and none of a label overlapping a surer one of it.

    Boxes are cut off at the edges of the film, and those of which nothing is left are dropped.

    Args:
        predictions: of B films.
        least: score.
        overlap: largest intersection over union of two boxes.
        most: boxes of a film.
    """
    corners = predictions.corners()
    limits = corners.new_tensor(predictions.size * 2)
    corners = torch.minimum(corners.clamp(min=0), limits)
    scores = (predictions.logits.float().sigmoid() * predictions.fit.float().sigmoid()[..., None]).sqrt()
    chosen = []
    for film, sure in zip(corners, scores, strict=True):
        best, where = sure.flatten().topk(min(_TOP, sure.numel()))
        where = where[best > least]
        best = best[best > least]
        place, label = where // sure.shape[1], where % sure.shape[1]
        boxes = film[place]
        real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, best, label = boxes[real], best[real], label[real]
        kept = batched_nms(boxes, best, label, overlap)[:most]
        chosen.append(Boxes(boxes[kept], best[kept], label[kept]))
    return chosen
