"""Masked autoencoding with contrast: the weighted sum of both losses, from one forward pass of the encoder."""

import pytest
import torch
from pydantic import ValidationError

from mae_rad.data.batch import View
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.losses.contrastive import nt_xent
from mae_rad.losses.masked_reconstruction import masked_mse
from mae_rad.objectives import FILM, objective_settings
from mae_rad.objectives.interface import Reconstructs
from tests.builders.pairs.small_methods import METHODS, small_batch, small_method

NAME = "mae_contrast"


def error(objective: torch.nn.Module, view: View) -> torch.Tensor:
    """Reconstruction error of one view alone."""
    prediction = objective.decoder(objective.encoder(view.visible), view.visible.coords, view.predicted.coords)
    target = view.predicted.values.double() / 65535
    return masked_mse(prediction, target, normalise=True, variance_floor=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_loss_is_the_weighted_sum_of_both(weight: float) -> None:
    objective = small_method(NAME, contrast_weight=weight).double()
    batch = small_batch(objective)
    first, second = batch.views["a"], batch.views["b"]
    assert first.visible.values.shape[1] == 8 and first.predicted.values.shape[1] == 4
    z0, z1 = (objective.head(objective.encoder(view.visible).pooled) for view in (first, second))
    rebuilt, contrast = (error(objective, first) + error(objective, second)) / 2, nt_xent(z0, z1, 0.1)
    output = objective(batch)
    torch.testing.assert_close(output.loss, rebuilt + weight * contrast, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(output.metrics["loss_reconstruction"], rebuilt, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(output.metrics["loss_contrast"], contrast, rtol=1e-10, atol=1e-12)


def test_the_encoder_runs_once() -> None:
    objective, runs = small_method(NAME), []
    objective.encoder.register_forward_hook(lambda *_: runs.append(1))
    objective(small_batch(objective))
    assert runs == [1]


def test_it_reconstructs_pictures() -> None:
    objective = small_method(NAME)
    assert isinstance(objective, Reconstructs)
    assert objective.reconstruct(small_batch(objective).views["a"]).shape == (8, 4, 16)


def test_its_arithmetic_is_that_of_its_parts() -> None:
    encoders = {FILM: EncoderSettings(dim=32, depth=2, heads=4, patch=4)}
    given = METHODS[NAME] | {"tokens": 16, "visible": 0.5}
    masked = {key: value for key, value in given.items() if not key.startswith("head")}
    pair = {key: given[key] for key in ("tokens", "visible", "head_hidden", "head_dim")}
    both, mae, simclr = (
        objective_settings({"name": name} | values).flops(encoders, 8)
        for name, values in ((NAME, given), ("mae", masked), ("simclr", pair))
    )
    assert both.encoder == 2 * mae.encoder == simclr.encoder
    assert both.rest == 2 * mae.rest + simclr.rest


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="mae_contrast hides patches, and resnet18 takes whole images only"):
        objective_settings({"name": NAME}).check_encoder(TimmSettings(timm="resnet18"))
    with pytest.raises(ValidationError, match="padded and crop exclude each other"):
        objective_settings({"name": NAME, "padded": True})
    with pytest.raises(ValidationError, match="films_at_once"):
        objective_settings({"name": NAME, "films_at_once": 2})
    with pytest.raises(ValidationError, match="sum to at most 1"):
        objective_settings({"name": NAME, "visible": 0.8, "predicted": 0.5})
