"""Losses and patch operations as pure functions of tensors, by the names of the papers.

Vectors are not normalised by the caller. With a process group, vectors are those of this rank and the mean of a loss
over ranks is the loss of one process with the films of all; each rank has equally many.
"""

from mae_rad.encoders.positions import sincos_positions
from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.clustering import (
    cc_cluster,
    cc_instance,
    dec,
    dec_assignment,
    dec_target,
    scan,
    sinkhorn,
    swav,
)
from mae_rad.losses.contrastive import dcl, nnclr, nt_xent, supcon, y_aware
from mae_rad.losses.cross_modal import clip, clip_with_classes, clip_without_false_negatives, siglip, soft_clip
from mae_rad.losses.distillation import dino, dino_center, negative_cosine
from mae_rad.losses.masked_reconstruction import masked_mse, patchify
from mae_rad.losses.pair_nce import pair_nce, valid_rows
from mae_rad.losses.ranking import rank_n_contrast
from mae_rad.losses.redundancy import barlow_twins, tico, vicreg

__all__ = [
    "barlow_twins",
    "cc_cluster",
    "cc_instance",
    "clip",
    "clip_with_classes",
    "clip_without_false_negatives",
    "dcl",
    "dec",
    "dec_assignment",
    "dec_target",
    "dino",
    "dino_center",
    "gather_columns",
    "masked_mse",
    "negative_cosine",
    "nnclr",
    "nt_xent",
    "pair_nce",
    "patchify",
    "rank_n_contrast",
    "scan",
    "siglip",
    "sincos_positions",
    "sinkhorn",
    "soft_clip",
    "supcon",
    "swav",
    "tico",
    "valid_rows",
    "vicreg",
    "y_aware",
]
