"""Grad-CAM (Selvaraju et al. 2017) on the patch tokens of a Vision Transformer, computed by captum.

The channels of the tokens at one depth are weighted by the gradient of the score, averaged over patches, summed, and
clipped at zero. The depth is the input of one of the last blocks, before the class token last attends to the patches,
so that there is a map for every pooling. Only the blocks above this depth store activations for backward, and no hook
is set on the encoder.

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
"""Features of B films → [B, L] scores before calibration."""


def grad_cam(
    encoder: ViT, score: Score, patches: Patches, labels: list[int], *, blocks: int = 1, window: int | None = None
) -> Tensor:
    """Compute the Grad-CAM map of each label.

    Args:
        encoder: in evaluation mode.
        score: head of the model.
        patches: of B films of one grid.
        labels: indices of the scores to explain.
        blocks: number of blocks above the tokens that are attributed.
        window: side of the windows of the encoder in patches; None for whole films.

    Returns:
        [B, len(labels), N] evidence of each patch, not negative, not normalised.
    """
    depth, windows = len(encoder.blocks) - blocks, Windows.of(patches, window)
    with torch.no_grad():
        tokens = encoder.embed(windows.cut(patches))
        for block in [*encoder.blocks][:depth]:
            tokens = block(tokens)
    upper_model = _UpperModel(encoder, depth, score, windows)
    cls, patch_tokens = tokens[:, :1], windows.join(tokens[:, 1:]).transpose(1, 2)
    with torch.enable_grad():  # also within a caller's no_grad
        method = LayerGradCam(upper_model, upper_model.target_layer)
        maps = [
            method.attribute(
                patch_tokens.requires_grad_(), target=label, additional_forward_args=(cls,), relu_attributions=True
            )
            for label in labels
        ]
    return torch.stack(
        [windows.crop_padding(attribution.detach().transpose(1, 2)).squeeze(2) for attribution in maps], dim=1
    )


class _UpperModel(nn.Module):
    """The model above the attributed tokens, which are channels first, as captum expects.

    The encoder is in a list so that its parameters are not registered as parameters of this module.
    """

    def __init__(self, encoder: ViT, depth: int, score: Score, windows: Windows) -> None:
        super().__init__()
        self.target_layer = nn.Identity()
        self._held = [encoder]
        self._depth, self._score, self._windows = depth, score, windows

    def forward(self, tokens: Tensor, cls: Tensor) -> Tensor:
        """[B, D, N] patch tokens and [B * W, 1, D] class tokens → [B, L] scores."""
        (encoder,) = self._held
        x = torch.cat([cls, self._windows.to_windows(self.target_layer(tokens).transpose(1, 2))], dim=1)
        for block in [*encoder.blocks][self._depth :]:
            x = block(x)
        return self._score(self._windows.features(encoder, encoder.features(x)))
