"""A network of timm gets films as three equal normalised channels, and costs what its convolutions cost."""

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from data_prep.errors import SettingsError
from data_prep.settings import load
from mae_rad.encoders.any_encoder import build_any_encoder
from mae_rad.encoders.timm_cost import network_cost
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.encoders.transformer_cost import encoder_activations, encoder_flops
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.trained_run import as_embedded, films

LITE = TimmSettings(timm="tf_efficientnet_lite0", patch=8)
PRETRAINING = {
    "data": {"shards": ["public"]},
    "objective": {"name": "simclr"},
    "optimizer": {"steps": 1, "batch": 8, "base_learning_rate": 0.1},
    "runtime": {"run_dir": "run"},
}


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(LITE).eval()


@pytest.mark.parametrize("shape", [(64, 64), (56, 104)])
def test_features_are_those_of_timm_on_three_normalised_channels(encoder: TimmEncoder, shape: tuple[int, int]) -> None:
    values = films(*shape)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in encoder.state_dict().items()})
    colours = (values[:, None] / 65535 - np.reshape(LITE.mean, (3, 1, 1))) / np.reshape(LITE.std, (3, 1, 1))
    with torch.no_grad():
        features = encoder(as_embedded(values, LITE.patch))
        expected = network(torch.from_numpy(colours.astype(np.float32)))
    assert features.pooled.shape == (3, encoder.dim) == (3, LITE.shape.dim)
    rounding = 1e-3 * float(expected.std())
    torch.testing.assert_close(features.pooled, expected, rtol=0, atol=rounding)
    torch.testing.assert_close(features.tokens.mean(dim=1), expected, rtol=0, atol=rounding)
    assert features.tokens.shape[1] == -(-shape[0] // 32) * -(-shape[1] // 32)


def test_flops_are_those_of_the_convolutions(encoder: TimmEncoder) -> None:
    counted: dict[str, float] = {}

    def count(name: str, layer: nn.Conv2d, output: Tensor) -> None:
        counted[name] = 2.0 * layer.weight.numel() * output.shape[2] * output.shape[3]

    layers = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [
        layer.register_forward_hook(lambda module, _, output, name=name: count(name, module, output))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        encoder(as_embedded(films(64, 64), LITE.patch))
    for hook in hooks:
        hook.remove()
    flops = encoder_flops(LITE, 64)
    assert flops.forward == sum(counted.values())
    assert flops.embedding == counted["network.conv_stem"]
    assert flops.training == 3 * flops.forward - flops.embedding


def test_activations_hold_at_least_the_input_of_every_convolution() -> None:
    inputs = 0
    encoder = TimmEncoder(LITE)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, given, __: sizes.append(given[0][0].numel()))
    sizes: list[int] = []
    with torch.no_grad():
        encoder.eval()(as_embedded(films(64, 64), LITE.patch))
    inputs = sum(sizes)
    kept = network_cost(LITE, 64).kept
    assert inputs < kept < 4 * inputs
    assert encoder_activations(LITE, 64, 4).kept == 4 * kept


def test_fixed_statistics_stay_in_training() -> None:
    fixed, free = TimmEncoder(LITE, has_fixed_statistics=True), TimmEncoder(LITE)
    for built, may_change in ((fixed, False), (free, True)):
        before = {name: value.clone() for name, value in built.state_dict().items() if "running" in name}
        built(as_embedded(films(64, 64), LITE.patch))  # as built
        built.eval().train()(as_embedded(films(64, 64), LITE.patch))
        after = built.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before) == may_change
        assert built.training


def test_settings_select_the_encoder_by_their_keys() -> None:
    chosen = load(PretrainSettings, None, ["encoder={timm: tf_efficientnet_lite2}"], base=PRETRAINING)
    assert chosen.encoder == TimmSettings(timm="tf_efficientnet_lite2")
    assert isinstance(build_any_encoder(chosen.encoder), TimmEncoder)
    assert load(PretrainSettings, None, ["encoder.model=vit_tiny"], base=PRETRAINING).encoder == EncoderSettings(
        model="vit_tiny"
    )
    read_again = PretrainSettings.model_validate_json(chosen.model_dump_json())
    assert read_again.encoder == chosen.encoder
    assert read_again.results() == chosen.results()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder={timm: tf_efficientnet_lite0, pach: 8}", "did you mean 'encoder.patch'"),
        ("encoder={modle: vit_tiny}", "did you mean 'encoder.model'"),
        ("encoder={timm: resnet81}", "timm has no network 'resnet81', did you mean 'resnet18'"),
        ("encoder={timm: maxvit_tiny_tf_224}", "does not take films of any shape, such as 144 x 208 pixels"),
        ("encoder={timm: vit_tiny_patch16_224, patch: 8}", "has patches of 16 pixels, not 8. Leave patch out"),
        ("encoder={timm: resnet18, args: {layer: 3}}", "timm cannot build resnet18 with args {'layer': 3}"),
        ("encoder={timm: resnet18, args: {checkpoint_path: x.pth}}", "args may not name checkpoint_path"),
        ("encoder={timm: 'hf-hub:timm/resnet18'}", "timm has no network 'hf-hub:timm/resnet18'"),
        ("encoder={timm: resnet18, channels: 1, mean: [0.4, 0.5, 0.6]}", "one number for each of 1 channels"),
        (
            "objective={name: mae}",
            "hides patches, and tf_efficientnet_lite0 takes whole images only. Give encoder.model",
        ),
        ("objective.visible=0.5", "Leave objective.visible out"),
        ("objective.films_at_once=4", "Leave objective.films_at_once out"),
        ("optimizer.accumulation=2", "optimizer.accumulation out"),
    ],
)
def test_what_a_network_of_timm_cannot_do_is_refused_in_one_line(override: str, message: str) -> None:
    base = PRETRAINING | {"encoder": {"timm": "tf_efficientnet_lite0"}}
    with pytest.raises(SettingsError) as refused:
        load(PretrainSettings, None, [override], base=base)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
