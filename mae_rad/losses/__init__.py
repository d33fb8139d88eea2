"""Losses and patch operations as pure functions of tensors."""

from mae_rad.encoders.positions import sincos_positions
from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.contrastive import clip, nt_xent, supcon
from mae_rad.losses.masked_reconstruction import masked_mse, patchify
from mae_rad.losses.pair_nce import pair_nce

__all__ = [
    "clip",
    "gather_columns",
    "masked_mse",
    "nt_xent",
    "pair_nce",
    "patchify",
    "sincos_positions",
    "supcon",
]
