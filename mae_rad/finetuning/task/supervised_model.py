"""An encoder and a head on it, as the training loop sees them."""

import re
from collections.abc import Sequence

import torch

from mae_rad.data.batch import Patches
from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import ViT
from mae_rad.finetuning.task.labelled_films import Group, LabelledBatch
from mae_rad.finetuning.task.settings import AdaptationSettings
from mae_rad.heads import Head
from mae_rad.objectives.interface import ObjectiveOutput, Trainable

_BLOCK = re.compile(r"encoder\.(?:blocks|stages)\.(\d+)\.")


class Supervised(Trainable):
    """Trains a head, and the encoder under it unless that is frozen.

    Layer-wise decay as in the published finetuning of the masked autoencoder (He et al. 2022, appendix A.1): the head
    and the last norm learn at the full rate, block l of L, from 0, at ``decay ** (L - l)`` of it, the patch embedding
    and the class token at ``decay ** (L + 1)``. The stages of a ResNet are its blocks.
    """

    encoder: ViT | ResNet

    def __init__(self, encoder: ViT | ResNet, head: Head, adaptation: AdaptationSettings) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.frozen = adaptation.encoder == "frozen"
        self.layer_decay = adaptation.layer_decay
        encoder.requires_grad_(not self.frozen)

    def forward(self, batch: LabelledBatch) -> ObjectiveOutput:
        """Loss of the head."""
        return self.head.loss(self.outputs(batch.groups), batch.targets)

    def outputs(self, groups: Sequence[Group]) -> list[object]:
        """What the head makes of films, grid by grid; a frozen encoder keeps nothing for a backward pass."""
        shown = [group for group in groups if isinstance(group, Patches)]
        if not shown:
            return [self.head(features, None) for features in groups]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            looked = self.head.encode_groups(self.encoder, shown)
        return [self.head(features, group) for features, group in zip(looked, groups, strict=True)]

    def rate_of(self, name: str) -> float:
        """Layer-wise decay."""
        if not name.startswith("encoder.") or name.startswith("encoder.norm."):
            return 1.0
        depth, block = self.encoder.depth, _BLOCK.match(name)
        return float(self.layer_decay ** (depth - int(block[1]) if block else depth + 1))
