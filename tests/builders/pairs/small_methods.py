"""Methods of several views at the smallest size, and batches for them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import FILM, Objective, objective_settings
from tests.builders.pairs.film_batch import film_batch

ENCODER = EncoderSettings(dim=32, depth=2, heads=4, patch=4)
HEAD = {"head_hidden": 32, "head_dim": 16}
METHODS: Mapping[str, dict[str, Any]] = {
    "byol": {**HEAD, "predictor_hidden": 16, "first_momentum": 0.9},
    "nnclr": {**HEAD, "predictor_hidden": 16, "memory": 40, "neighbours": 2},
    "swav": {
        **HEAD,
        "prototypes": 10,
        "small_crops": 2,
        "small_tokens": 9,
        "frozen_steps": 2,
        "queue": 13,
        "queue_from": 0.5,
    },
    "dino": {**HEAD, "outputs": 24, "small_crops": 2, "small_tokens": 9, "first_momentum": 0.9, "frozen_steps": 2},
    "rank_n_contrast": {},
    "mae_contrast": {**HEAD, "predicted": 0.25, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
}
"""Method → its settings for tests, at T = 16."""


def small_method(name: str, **changes: Any) -> Any:
    """Build a method on a ViT of two blocks, always with the same weights; tests look at its parts."""
    torch.manual_seed(0)
    settings = objective_settings({"name": name, "tokens": 16} | METHODS[name] | changes)
    return settings.build({FILM: build_encoder(ENCODER)})


def small_batch(objective: Objective, films: int = 8, *, shift: float = 12000, meta: Mapping[str, Tensor] | None = None,
                first: int = 0, seed: int = 1, progress: float = 0.5) -> Batch:  # fmt: skip
    """Views of random films, as many patches as their specifications have; the same for a film in any batch.

    Args:
        objective: whose views are drawn.
        films: number of films.
        shift: standard deviation of what differs between the views of a film, in display values.
        meta: column → values of the films; every ninth film has no ``age_years``, which is a texture of the others.
        first: number of the first film.
        seed: of what differs; the films do not depend on it.
        progress: share of a run of 100 steps that is done.
    """
    views = {}
    for number, (name, spec) in enumerate(objective.views.items()):
        every = [_film(film, shift, seed * 1000 + number) for film in range(first, first + films)]
        side = round(spec.tokens**0.5)
        coords = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float().expand(films, -1, -1)
        chosen = torch.arange(spec.tokens) * 16 // spec.tokens  # a small crop has some of the patches
        values, size = torch.stack(every)[:, chosen].to(torch.uint16), torch.full((films, 2), float(side))
        visible, predicted = spec.budgets
        cut = visible or spec.tokens
        rest = slice(cut, cut + predicted)
        hidden = Patches(values[:, rest], coords[:, rest], size) if predicted else None
        views[name] = View(Patches(values[:, :cut], coords[:, :cut], size), hidden)
    numbers = range(first, first + films)
    ages = torch.tensor([50 + _mixture(film)[0] * 15 if film % 9 else torch.nan for film in numbers])
    batch = film_batch(views, torch.tensor(numbers), meta={"age_years": ages} | dict(meta or {}), position=first)
    return replace(batch, step=round(100 * progress), progress=progress)


def _film(number: int, shift: float, seed: int) -> Tensor:
    """Display values [16, 16] of 16 patches: a mixture of textures, of which one differs between views."""
    textures = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(seed * 1000 + number)
    own = 6000 * _mixture(number) @ textures[1:] + shift * torch.randn(1, generator=draw) * textures[0]
    return (32768 + own + 3000 * torch.randn(16, 16, generator=draw)).clamp(0, 65535).to(torch.int32)


def _mixture(number: int) -> Tensor:
    """Weights of the textures of a film, [3] standard normal."""
    return torch.randn(3, generator=torch.Generator().manual_seed(number))
