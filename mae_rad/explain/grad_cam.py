"""Where a label's score comes from: Grad-CAM (Selvaraju et al. 2017) on the patch tokens of a Vision Transformer.

The channels of the tokens at one depth are weighed by the mean over the patches of the gradient of the score, summed,
and cut at zero. The depth is the input of one of the last blocks, where the class token still reads the patches, so
that the map is there for every pooling. captum does the arithmetic; only the blocks above the depth keep what a
gradient needs, and no hook touches the encoder itself.

Legend: B films, N patches, D channels, L labels.
"""

from collections.abc import Callable

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.encoders.vit import Features, ViT
from mae_rad.heads.window_attention import Windows

Score = Callable[[Features], Tensor]
"""Features of B films → [B, L] scores before any calibration."""


def grad_cam(
    encoder: ViT, score: Score, patches: Patches, labels: list[int], *, blocks: int = 1, window: int | None = None
) -> Tensor:
    """[B, len(labels), N] how much each patch speaks for each label; not negative, not normalised.

    Args:
        encoder: in evaluation mode.
        score: of its features.
        patches: of films of one grid.
        labels: places among the scores.
        blocks: how many blocks lie between the tokens looked at and the features.
        window: patches a side of what the encoder looks at, where the head has it look so.
    """
    depth, cut = len(encoder.blocks) - blocks, Windows.of(patches, window)
    with torch.no_grad():
        tokens = encoder.embed(cut.cut(patches))
        for block in [*encoder.blocks][:depth]:
            tokens = block(tokens)
    rest = _Rest(encoder, depth, score, cut)
    cls, seen = tokens[:, :1], cut.join(tokens[:, 1:]).transpose(1, 2)
    with torch.enable_grad():  # also within a caller's no_grad
        method = LayerGradCam(rest, rest.looked_at)
        maps = [
            method.attribute(
                seen.requires_grad_(), target=label, additional_forward_args=(cls,), relu_attributions=True
            )
            for label in labels
        ]
    return torch.stack([cut.within(one.detach().transpose(1, 2)).squeeze(2) for one in maps], dim=1)


class _Rest(nn.Module):
    """The model above the tokens looked at, which it takes as captum wants them: channels first.

    The encoder is held in a plain list: its parameters are not those of this module.
    """

    def __init__(self, encoder: ViT, depth: int, score: Score, cut: Windows) -> None:
        super().__init__()
        self.looked_at = nn.Identity()
        self._held = [encoder]
        self._depth, self._score, self._cut = depth, score, cut

    def forward(self, tokens: Tensor, cls: Tensor) -> Tensor:
        """[B, D, N] patch tokens and [B * W, 1, D] class tokens → [B, L] scores."""
        (encoder,) = self._held
        x = torch.cat([cls, self._cut.part(self.looked_at(tokens).transpose(1, 2))], dim=1)
        for block in [*encoder.blocks][self._depth :]:
            x = block(x)
        return self._score(self._cut.features(encoder, encoder.features(x)))
