"""The ResNet is torchvision's network, for grey films of any shape."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from mae_rad.encoders.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet, ResNetSettings, as_image
from mae_rad.errors import WeightsError
from tests.mae_rad.heads.test_feature_pyramid import PATCH, patches_of


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """torchvision's own network with norms that have seen something, and its file."""
    torch.manual_seed(0)
    network = resnet18(weights=None)
    for name, value in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("published") / "resnet.safetensors"
    save_file(network.state_dict(), path)
    return network.eval(), path


def test_patches_become_the_film_again():
    patches = patches_of((5, 7), 2)
    image = as_image(patches, PATCH)
    assert image.shape == (2, 1, 80, 112)
    assert torch.equal(image[1, 0, 16:32, 32:48].flatten(), patches.values[1, 9].float())


@pytest.mark.parametrize("grid", [(5, 7), (1, 6), (4, 4)])
def test_maps_have_their_strides(grid):
    network = ResNet(ResNetSettings(model="resnet18"))
    for cells, stride, width in zip(network.maps(patches_of(grid, 2)), network.strides, network.widths, strict=True):
        assert cells.shape[:2] == (2, width)
        for side, patches in zip(cells.shape[2:], grid, strict=True):
            assert (side - 1) * stride < patches * PATCH <= side * stride


def test_published_weights_see_a_grey_film_as_they_would_in_colour(published):
    network, path = published
    ours = ResNet(ResNetSettings(model="resnet18", weights=path))
    patches = patches_of((16, 16))
    colour = as_image(patches, PATCH).expand(-1, 3, -1, -1) / 65535
    colour = (colour - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    expected = network.bn1(network.conv1(colour))
    grey = ours.stem[1](ours.stem[0]((as_image(patches, PATCH) / 65535 - 0.5) / 0.25))
    torch.testing.assert_close(grey[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    after = network.layer2(network.layer1(network.maxpool(network.relu(expected))))
    torch.testing.assert_close(ours.stages[1](ours.stages[0](ours.stem[2:](expected))), after, rtol=1e-4, atol=1e-4)


def test_the_features_of_a_film_are_the_mean_of_its_cells():
    network = ResNet(ResNetSettings(model="resnet18"))
    patches = patches_of((5, 7), 2)
    features = network(patches)
    assert features.tokens.shape == (2, 3 * 4, network.dim)
    torch.testing.assert_close(features.pooled, network.maps(patches)[-1].mean(dim=(2, 3)))


def test_weights_of_another_network_are_refused(published, tmp_path):
    _, path = published
    with pytest.raises(WeightsError, match="does not fit"):
        ResNet(ResNetSettings(model="resnet34", weights=path))
    with pytest.raises(WeightsError, match="missing"):
        ResNet(ResNetSettings(model="resnet18", weights=tmp_path / "nothing.safetensors"))
