"""The vector of a film from several blocks, deviations and regions, against numpy and the plain forward pass."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from data_prep.settings import Settings, load
from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import Region, film_layout
from mae_rad.embedding.film_vector import film_vectors, vector_width
from mae_rad.encoders.film_pooling import pool_blocks, region_members
from mae_rad.encoders.pooling_name import FilmPool, parse_pooling, pooling_name
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import EvaluationError

FILMS, COUNT, DIM = 3, 30, 8
GRID = (6, 5)
SMALL = EncoderSettings(model="vit_tiny", dim=DIM, depth=4, heads=2, patch=4)
Blocks = dict[int, tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture
def blocks() -> Blocks:
    """Number of the block → patch tokens and class token; 0 is the last block."""
    draw = torch.Generator().manual_seed(0)
    return {
        number: (
            torch.randn(FILMS, COUNT, DIM, generator=draw) * (1 + number),
            torch.randn(FILMS, DIM, generator=draw),
        )
        for number in (0, 1, 3)
    }


def patches(content: torch.Tensor | None = None) -> Patches:
    draw = torch.Generator().manual_seed(1)
    values = torch.randint(0, 65536, (FILMS, COUNT, 16), generator=draw, dtype=torch.int32).to(torch.uint16)
    coords = torch.cartesian_prod(torch.arange(GRID[0]), torch.arange(GRID[1])).float().expand(FILMS, -1, -1)
    return Patches(values, coords, torch.tensor([GRID] * FILMS).float(), content)


def by_hand(tokens: NDArray[np.float32], chosen: NDArray[np.bool_], part: str) -> NDArray[np.float64]:
    films = [film[rows].astype(np.float64) for film, rows in zip(tokens, chosen, strict=True)]
    measure: Callable[..., NDArray[np.float64]] = np.mean if part == "mean" else np.std
    return np.stack([measure(film, axis=0) for film in films])


@pytest.mark.parametrize("part", ["mean", "deviation"])
def test_regions_are_mean_and_deviation_of_the_patches_whose_centre_they_contain(blocks: Blocks, part: str) -> None:
    # The content of the second film begins at the second row and the third column.
    content = torch.tensor([[-0.5, -0.5, 6, 5], [0.5, 1.5, 4, 3], [-0.5, -0.5, 6, 5]])
    given = patches(content)
    vectors = pool_blocks(f"{part} of blocks 1 3 and 2 x 2 regions", blocks, given).reshape(FILMS, 2, 5, DIM)
    row, column = given.coords.numpy()[..., 0], given.coords.numpy()[..., 1]
    for place, number in enumerate((1, 3)):
        tokens = blocks[number][0].numpy()
        everywhere = np.ones((FILMS, COUNT), dtype=np.bool_)
        np.testing.assert_allclose(vectors[:, place, 0], by_hand(tokens, everywhere, part), atol=1e-5)
        for region in range(4):
            chosen = np.zeros((FILMS, COUNT), dtype=np.bool_)
            for film, (top, left, rows, columns) in enumerate(content.tolist()):
                first_row, first_column = top + rows / 2 * (region // 2), left + columns / 2 * (region % 2)
                chosen[film] = (row[film] >= first_row) & (row[film] < first_row + rows / 2)
                chosen[film] &= (column[film] >= first_column) & (column[film] < first_column + columns / 2)
            np.testing.assert_allclose(vectors[:, place, 1 + region], by_hand(tokens, chosen, part), atol=1e-5)


def test_a_region_without_patches_has_the_value_of_the_whole_film(blocks: Blocks) -> None:
    content = torch.tensor([[-0.5, -0.5, 2.0, 5.0]] * FILMS)  # two rows of patches: none in the middle of three regions
    vectors = pool_blocks("mean+deviation and 8 x 8 regions", blocks, patches(content)).reshape(FILMS, 2, 65, DIM)
    members = torch.stack(region_members(patches(content), 8))[:, 0]
    empty = [number for number, chosen in enumerate(members) if not chosen.any()]
    assert 0 < len(empty) < 64
    for number in empty:
        assert torch.equal(vectors[:, :, 1 + number], vectors[:, :, 0])
    (single, *_) = [number for number, chosen in enumerate(members) if chosen.sum() == 1]
    assert torch.equal(vectors[:, 1, 1 + single], torch.zeros(FILMS, DIM))  # one patch does not deviate from itself


def test_without_a_content_box_the_regions_divide_the_whole_film(blocks: Blocks) -> None:
    whole = torch.tensor([[-0.5, -0.5, 6, 5]] * FILMS)
    pool = "mean and 3 x 3 regions"
    assert torch.equal(pool_blocks(pool, blocks, patches()), pool_blocks(pool, blocks, patches(whole)))


def test_the_content_box_of_a_layout_is_where_its_patches_are() -> None:
    box = Region(100, 60, 300, 200)
    layout = film_layout(500, 400, box, 64, 4)
    top, left, rows, columns = layout.box(box).tolist()
    centres = layout.coordinates().reshape(*layout.grid, 2)
    pixel_rows = (np.arange(layout.grid[0]) + 0.5) * 500 / layout.grid[0]
    pixel_columns = (np.arange(layout.grid[1]) + 0.5) * 400 / layout.grid[1]
    inside = (centres[:, 0, 0] >= top) & (centres[:, 0, 0] < top + rows)
    np.testing.assert_array_equal(inside, (pixel_rows >= 100) & (pixel_rows < 400))
    inside = (centres[0, :, 1] >= left) & (centres[0, :, 1] < left + columns)
    np.testing.assert_array_equal(inside, (pixel_columns >= 60) & (pixel_columns < 260))
    assert layout.box(layout.region).tolist() == pytest.approx([-0.5, -0.5, *layout.size().tolist()])


def test_parts_stand_in_a_fixed_order_whatever_the_order_of_their_names(blocks: Blocks) -> None:
    given = patches()
    vector = pool_blocks("deviation+cls+mean of blocks 3 1", blocks, given)
    parts = [
        pool_blocks(f"{part} of block {n}", blocks, given) for n in (1, 3) for part in ("cls", "mean", "deviation")
    ]
    assert torch.equal(vector, torch.cat(parts, dim=1))
    for pool in ("cls", "mean", "cls_mean", "mean+deviation and 2 x 2 regions", "cls+mean of blocks 1 3"):
        assert pool_blocks(pool, blocks, given).shape == (FILMS, parse_pooling(pool).width(DIM))


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return build_encoder(SMALL).eval()


@torch.no_grad()
def test_blocks_are_those_of_the_plain_forward_pass(encoder: ViT) -> None:
    seen: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda _, inputs, output: seen.append(output)) for block in encoder.blocks]
    plain = encoder(patches())
    for hook in hooks:
        hook.remove()
    pooled = film_vectors(encoder, patches(), "cls+mean of blocks 1 3 4").reshape(FILMS, 3, 2, DIM)
    for place, number in enumerate((1, 3, 4)):
        normed = encoder.norm(seen[number - 1])
        torch.testing.assert_close(pooled[:, place, 0], normed[:, 0], rtol=0, atol=1e-6)
        torch.testing.assert_close(pooled[:, place, 1], normed[:, 1:].mean(dim=1), rtol=0, atol=1e-6)
    assert torch.equal(film_vectors(encoder, patches(), "mean of block 4"), plain.tokens.mean(dim=1))


def test_the_film_vector_does_not_change_what_training_pools(encoder: ViT) -> None:
    chosen = build_encoder(SMALL.model_copy(update={"vector": "mean+deviation of blocks 2 4"})).eval()
    chosen.load_state_dict(encoder.state_dict())
    assert torch.equal(chosen(patches()).pooled, encoder(patches()).pooled)
    assert vector_width(chosen) == film_vectors(chosen, patches()).shape[1] == 4 * DIM
    assert torch.equal(film_vectors(encoder, patches()), encoder(patches()).pooled)


class _Pool(Settings):
    pool: FilmPool | None = None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mean", "mean"),
        ("cls+mean", "cls_mean"),
        ("deviation+mean of blocks 12 3", "mean+deviation of blocks 3 12"),
        (
            {"parts": ["mean", "deviation"], "blocks": [3, 6], "regions": 2},
            "mean+deviation of blocks 3 6 and 2 x 2 regions",
        ),
        ({"blocks": [2]}, "mean of block 2"),
        ({"parts": ["cls", "mean"]}, "cls_mean"),
    ],
)
def test_a_pooling_has_one_name_however_it_is_written(given: object, name: str) -> None:
    assert _Pool.model_validate({"pool": given}).pool == pooling_name(name) == parse_pooling(name).name == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("median", "no part 'median'. Its parts are cls, mean, deviation"),
        ("mean of blocks", "is not a pooling"),
        ("mean of blocks 0 3", "counted from 1"),
        ("mean of blocks 3 3", "occurs twice"),
        ("mean and 2 x 3 regions", "unequal"),
        ("mean and 9 x 9 regions", "from 1 .none. to 8"),
        ("cls and 2 x 2 regions", "cls alone has none"),
        ({"parts": []}, "no part ''"),
        ({"block": [3]}, "unknown key 'block'"),
        ({"blocks": "3 6"}, "are lists"),
    ],
)
def test_bad_poolings_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _Pool.model_validate({"pool": given})


def test_a_block_that_the_encoder_lacks_is_refused() -> None:
    with pytest.raises(ValidationError, match="names block 13 of 12"):
        EncoderSettings(model="vit_tiny", vector="mean of blocks 3 13")
    assert load(_Pool, None, ["pool=mean of blocks 3 6 and 2 x 2 regions"]).pool is not None


def test_regions_without_patch_tokens_are_refused() -> None:
    network = TimmEncoder(TimmSettings(timm="test_resnet", patch=4)).eval()
    with pytest.raises(EvaluationError, match="not one per patch"):
        film_vectors(network, patches(), "mean and 2 x 2 regions")
    assert film_vectors(network, patches(), "mean+deviation").shape == (FILMS, 2 * network.dim)


def test_the_maps_of_a_convolutional_network_are_blocks_of_their_own_width() -> None:
    network = TimmEncoder(TimmSettings(timm="test_efficientnet", patch=4)).eval()
    with torch.no_grad():
        maps = network.network.forward_intermediates(network.images(patches()), intermediates_only=True)
        last = network.network(network.images(patches()))
    pool = "mean of blocks 2 5"
    vectors = film_vectors(network, patches(), pool)
    torch.testing.assert_close(vectors, torch.cat([maps[1].mean(dim=(2, 3)), maps[4].mean(dim=(2, 3))], dim=1))
    assert vector_width(network, pool) == vectors.shape[1] == 24 + 64
    torch.testing.assert_close(film_vectors(network, patches(), "mean"), last)  # a convolution follows the last map
