"""The model of a finetuning: an encoder and a task head."""

from collections.abc import Sequence

import torch

from mae_rad.data.batch import Patches
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.finetuning.task.labelled_films import Group, LabelledBatch
from mae_rad.finetuning.task.settings import AdaptationSettings
from mae_rad.heads import Head
from mae_rad.objectives.interface import ObjectiveOutput, Trainable


class Supervised(Trainable):
    """An encoder, frozen or trained, and a head.

    Layer-wise learning rate decay of the published finetuning of the masked autoencoder (He et al. 2022, appendix A.1):
    the head and the last norm have the full learning rate, block l of L, counted from 0, ``decay ** (L - l)`` of it,
    the patch embedding and the class token ``decay ** (L + 1)``. Networks of timm have the layers that timm states.

    Attributes:
        encoder: ViT or network of timm.
        head: on its features.
        frozen: whether the encoder keeps its weights.
        layer_decay: rate of a block relative to the block above it.
    """

    encoder: Encoder

    def __init__(self, encoder: Encoder, head: Head, adaptation: AdaptationSettings) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.frozen = adaptation.encoder == "frozen"
        self.layer_decay = adaptation.layer_decay
        encoder.requires_grad_(not self.frozen)

    def forward(self, batch: LabelledBatch) -> ObjectiveOutput:
        """Loss of the head, and its metrics."""
        return self.head.loss(self.outputs(batch.groups), batch.targets)

    def outputs(self, groups: Sequence[Group]) -> list[object]:
        """Raw outputs of the head for every group; a frozen encoder stores no activations for backward.

        Args:
            groups: films of one grid each, all as patches or all as cached features.

        Returns:
            Outputs of :meth:`Head.forward`, one per group.
        """
        patch_groups = [group for group in groups if isinstance(group, Patches)]
        if not patch_groups:
            return [self.head(features, None) for features in groups]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            encoded = self.head.encode_groups(self.encoder, patch_groups)
        return [self.head(features, group) for features, group in zip(encoded, groups, strict=True)]

    def rate_of(self, name: str) -> float:
        """Factor of layer-wise decay on the learning rate of the parameter ``name``."""
        if not name.startswith("encoder."):
            return 1.0
        return float(self.layer_decay ** self.encoder.layers_above(name.removeprefix("encoder.")))
