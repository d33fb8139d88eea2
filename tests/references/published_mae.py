"""The published masked autoencoder on square images, written from its description and by nothing of ours.

Weights go by our names; the port of the cross-attention decoder follows ``mae_decoder.py`` in words only.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu

PATCH, SIDE = 4, 6
"""Pixels of a patch, patches of an image, along one side."""

MEAN, STD = 0.45, 0.3


def images(films: int = 2) -> Tensor:
    """[films, 1, SIDE * PATCH, SIDE * PATCH] display values."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 65536, (films, 1, SIDE * PATCH, SIDE * PATCH), generator=draw, dtype=torch.int32)


def noise(films: int = 2) -> Tensor:
    return torch.rand(films, SIDE * SIDE, generator=torch.Generator().manual_seed(2))


class Published:
    """Loss from pixels, noise and weights."""

    def __init__(self, weights: Mapping[str, Tensor], *, heads: int, decoder_heads: int) -> None:
        self.w, self.heads, self.decoder_heads = weights, heads, decoder_heads

    def loss(self, pixels: Tensor, noise: Tensor, keep: int, normalise: bool) -> Tensor:
        """The published loss; ``pixels`` [B, 1, H, W] in [0, 1]."""
        order = noise.argsort(1)
        x = self.linear(self.encode(pixels, order[:, :keep]), "decoder.embedding")
        unshuffled = self.w["decoder.mask_token"].expand(len(x), SIDE * SIDE, -1).clone()
        for film, chosen in enumerate(order):
            unshuffled[film, chosen[:keep]] = x[film, 1:]
        x = torch.cat([x[:, :1], unshuffled + self.table(x)], 1)
        x = self.norm(self.stack(x, "decoder.blocks", self.decoder_heads), "decoder.norm")
        errors = ((self.linear(x, "decoder.head")[:, 1:] - self.targets(pixels, normalise)) ** 2).mean(-1)
        mask = torch.ones_like(errors)
        for film, chosen in enumerate(order):
            mask[film, chosen[:keep]] = 0
        return (errors * mask).sum() / mask.sum()

    def cross_loss(self, pixels: Tensor, noise: Tensor, keep: int, predict: int) -> Tensor:
        """The loss of the first ``predict`` hidden patches, each read from the encoder's output alone."""
        order = noise.argsort(1)
        x = self.linear(self.encode(pixels, order[:, :keep]), "decoder.embedding")
        table, targets = self.table(x), self.targets(pixels, normalise=True)
        losses = []
        for film, chosen in enumerate(order):
            context = torch.cat([x[film, :1], x[film, 1:] + table[chosen[:keep]]])[None]
            for patch in chosen[keep : keep + predict]:  # one at a time: they cannot see each other
                token = (self.w["decoder.mask_token"] + table[patch])[None, None]
                for block in self.names("decoder.blocks"):
                    queries = self.linear(self.norm(token, f"{block}.norm1"), f"{block}.attn.q")
                    keys, values = self.linear(context, f"{block}.attn.kv").chunk(2, -1)
                    token = token + self.mixed(queries, keys, values, f"{block}.attn.proj", self.decoder_heads)
                    token = self.perceptron(token, block)
                guess = self.linear(self.norm(token, "decoder.norm"), "decoder.head")[0, 0]
                losses.append(((guess - targets[film, patch]) ** 2).mean())
        return torch.stack(losses).mean()

    def encode(self, pixels: Tensor, kept: Tensor) -> Tensor:
        kernel = self.w["encoder.embedding.weight"].reshape(-1, 1, PATCH, PATCH)
        x = conv2d((pixels - MEAN) / STD, kernel, self.w["encoder.embedding.bias"], stride=PATCH)
        x = x.flatten(2).transpose(1, 2)
        x = x + self.table(x)
        x = torch.stack([film[chosen] for film, chosen in zip(x, kept, strict=True)])
        x = torch.cat([self.w["encoder.cls"].expand(len(x), 1, -1), x], 1)
        return self.norm(self.stack(x, "encoder.blocks", self.heads), "encoder.norm")

    @staticmethod
    def targets(pixels: Tensor, normalise: bool) -> Tensor:
        films = len(pixels)
        target = pixels.reshape(films, SIDE, PATCH, SIDE, PATCH).transpose(2, 3).reshape(films, SIDE * SIDE, -1)
        if normalise:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        return target

    @staticmethod
    def table(like: Tensor) -> Tensor:
        dim, rows = like.shape[-1], []
        for row in range(SIDE):
            for column in range(SIDE):
                waves = np.outer([column, row], 1 / 10000 ** (np.arange(dim // 4) / (dim / 4)))
                rows.append(np.concatenate([np.sin(waves[0]), np.cos(waves[0]), np.sin(waves[1]), np.cos(waves[1])]))
        return torch.from_numpy(np.stack(rows)).to(like)

    def names(self, stack: str) -> list[str]:
        depth = 1 + max(int(name.split(".")[2]) for name in self.w if name.startswith(f"{stack}."))
        return [f"{stack}.{number}" for number in range(depth)]

    def stack(self, x: Tensor, name: str, heads: int) -> Tensor:
        for block in self.names(name):
            query, key, value = self.linear(self.norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, -1)
            x = x + self.mixed(query, key, value, f"{block}.attn.proj", heads)
            x = self.perceptron(x, block)
        return x

    def mixed(self, query: Tensor, key: Tensor, value: Tensor, name: str, heads: int) -> Tensor:
        split = [part.chunk(heads, -1) for part in (query, key, value)]
        mixed = [
            (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1) @ v for q, k, v in zip(*split, strict=True)
        ]
        return self.linear(torch.cat(mixed, -1), name)

    def perceptron(self, x: Tensor, block: str) -> Tensor:
        hidden = gelu(self.linear(self.norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        return x + self.linear(hidden, f"{block}.mlp.fc2")

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]
