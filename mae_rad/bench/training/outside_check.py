r"""Repeat a finished pretraining with the code of other people, for a comparison of the two encoders.

    pip install --no-deps --target FOLDER transformers lightly
    mae-rad bench outside_check RUN --shards PUBLIC… --packages FOLDER --out OTHER [--steps N] [--workers N]
    mae-rad compare RUN OTHER --config docs/learned/hands_compare.yaml shards=PUBLIC out=RESULT

RUN is a run of ``mae-rad pretrain`` with a ViT, in one process or several. A masked autoencoder is repeated with
ViTMAEForPreTraining of Hugging Face's transformers: its model, masking and loss. It takes one size of square images and
hides all other patches, so RUN must have the published layout: objective.padded=true objective.predicted=all
objective.decoder=self objective.variance_floor=0. SimCLR is repeated with NTXentLoss and SimCLRProjectionHead of
lightly, on the encoder of RUN.

Equal in both: films and their order, pixels (for SimCLR also the crops), the initial weights of the encoder (and of the
decoder), batch, steps, AdamW with its schedule, decay and clipping, precision. What differs is printed. Neither package
is installed with this one.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.progress import Progress
from data_prep.settings import load
from mae_rad.data.batch import Batch, Patches, ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import DISPLAY_RANGE, EncoderSettings, ViT, build_encoder
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.export.encoder_folder import read_card, save_encoder
from mae_rad.export.fixed_size import FilmSize
from mae_rad.export.hugging_face import write_vit_mae
from mae_rad.export.published_weights import read_published
from mae_rad.objectives import FILM
from mae_rad.objectives.mae import MAE, MAESettings
from mae_rad.objectives.simclr import SimCLR, SimCLRSettings
from mae_rad.objectives.two_views import VIEWS
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.learning_rate import learning_rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the other implementation and write its encoder; returns the exit code."""
    options = _options(arguments)
    settings = _run_settings(options.run, options.steps)
    sys.path.insert(0, str(options.packages))
    torch.manual_seed(settings.seed)
    other = build_other(settings)
    index = ShardIndex(options.shards, where=settings.data.where, generations=settings.data.generations)
    card = read_card(options.run / "encoder")
    if card.provenance.get("dataset_sha256") != index.dataset_sha256:
        raise SettingsError(f"{options.run} was trained on other films than those of --shards. Give its shards.")
    print(other.differs)
    losses = train_other(other, settings, index, options.workers)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses, start=1)]
    atomic_text(options.out / "metrics.jsonl", "\n".join(lines) + "\n")
    steps, encoder_settings = settings.optimizer.steps, _vit(settings)
    save_encoder(
        other.encoder(),
        encoder_settings,
        options.out / "encoder",
        tokens=settings.objective.tokens,
        precision="bf16" if settings.precision == "bf16" else "f32",
        provenance={
            "method": other.name,
            "steps": steps,
            "films_seen": steps * settings.optimizer.batch,
            "seed": settings.seed,
            "dataset_sha256": index.dataset_sha256,
            "training_flops": card.provenance.get("training_flops"),
        },
    )
    print(f"{other.name}: loss {losses[0]:.4f} at the first step, {losses[-1]:.4f} at the last; {options.out}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench outside_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="finished run folder of mae-rad pretrain")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="PUBLIC", help="its public folders")
    parser.add_argument("--packages", type=Path, required=True, metavar="FOLDER", help="target of pip install")
    parser.add_argument("--out", type=Path, required=True, metavar="OTHER", help="folder to write")
    parser.add_argument("--steps", type=int, help="steps of the whole schedule (default: those of RUN)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes (default: 0)")
    return parser.parse_args(arguments)


def _run_settings(run: Path, steps: int | None) -> PretrainSettings:
    """Read the settings of a run folder, and check that the other implementations can repeat it."""
    settings = load(PretrainSettings, run / "config.yaml", [f"optimizer.steps={steps}"] if steps else [])
    _vit(settings)
    if settings.start_from is not None or settings.optimizer.accumulation > 1:
        raise SettingsError(
            f"{run} has start_from or accumulation, which this check does not repeat. Give another run."
        )
    return settings


def _vit(settings: PretrainSettings) -> EncoderSettings:
    if not isinstance(settings.encoder, EncoderSettings):
        raise SettingsError("the run has no ViT, and this check repeats runs of a ViT only. Give another run.")
    return settings.encoder


class Other(Protocol):
    """A pretraining in the code of another package.

    Attributes:
        name: of the package, its version and what it trains.
        differs: what it does otherwise, one line.
        model: all that is trained.
        views: what the loader draws of every film.
    """

    name: str
    differs: str
    model: Any
    views: Mapping[str, ViewSpec]

    def loss(self, batch: Batch, precision: str) -> Tensor:
        """[] loss of a batch."""

    def encoder(self) -> ViT:
        """The trained encoder as one of this package."""


def build_other(settings: PretrainSettings) -> Other:
    """Build the other implementation with the initial weights of the run, from torch's global random state.

    Args:
        settings: settings of the run.

    Raises:
        SettingsError: the run is of another method, or of a layout that the other implementation cannot have.
        WeightsError: the package is not in the folder of ``--packages``.
    """
    objective, encoder = settings.objective, build_encoder(_vit(settings))
    if isinstance(objective, MAESettings):
        return HuggingFaceMAE(MAE(encoder, objective), objective, _vit(settings))
    if isinstance(objective, SimCLRSettings):
        return LightlySimCLR(SimCLR(encoder, objective), objective)
    raise SettingsError(f"no other implementation of {objective.name} is known here. Give a run of MAE or SimCLR.")


class HuggingFaceMAE:
    """ViTMAEForPreTraining of Hugging Face's transformers, which draws its own masks.

    Args:
        ours: masked autoencoder with the initial weights.
        objective: its settings.
        settings: settings of its encoder.
    """

    def __init__(self, ours: MAE, objective: MAESettings, settings: EncoderSettings) -> None:
        is_published = objective.padded and objective.predicted == "all" and not objective.variance_floor
        if not is_published or objective.decoder != "self" or objective.schedule or not objective.normalise_pixels:
            raise SettingsError(
                "ViTMAEForPreTraining needs the published layout. Pretrain with objective.padded=true"
                " objective.predicted=all objective.decoder=self objective.variance_floor=0, without a schedule."
            )
        package = _package("transformers")
        side = math.isqrt(objective.tokens) * settings.patch
        with TemporaryDirectory() as folder:
            write_vit_mae(ours.encoder, ours.pixel_decoder(), settings, FilmSize(side, side), Path(folder))
            self.model: Any = package.ViTMAEForPreTraining.from_pretrained(folder).train()
        for table in (self.model.vit.embeddings.position_embeddings, self.model.decoder.decoder_pos_embed):
            table.requires_grad_(False)  # as in a new model; from_pretrained of transformers 5 would train them
        self.name = f"ViTMAE of transformers {package.__version__}"
        self.differs = "differs: masks (its own random numbers), and the film is normalised before its patches are"
        self.views: Mapping[str, ViewSpec] = {FILM: ViewSpec(objective.tokens, objective.augmentation, padded=True)}
        self._settings = settings

    def loss(self, batch: Batch, precision: str) -> Tensor:
        """Its loss on the films as square images."""
        device = next(self.model.parameters()).device
        images = as_images(batch.views[FILM].visible, self._settings).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss: Tensor = self.model(images).loss
            return loss

    def encoder(self) -> ViT:
        """Its encoder; positions are computed, and equal its table."""
        with TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            published = read_published(Path(folder)).weights
        weights = {
            name.removeprefix("encoder."): value.float()
            for name, value in published.items()
            if name.startswith("encoder.") and name != "encoder.positions"
        }
        weights["cls"] = weights["cls"].flatten()
        kernel = weights["embedding.weight"] = weights["embedding.weight"].flatten(1)
        encoder = build_encoder(self._settings)
        encoder.load_state_dict(weights)
        encoder.patch_kernel = kernel
        return encoder


class LightlySimCLR:
    """NTXentLoss and SimCLRProjectionHead of lightly on the encoder of this package.

    Args:
        ours: SimCLR with the initial weights.
        objective: its settings.
    """

    def __init__(self, ours: SimCLR, objective: SimCLRSettings) -> None:
        heads, losses = _package("lightly.models.modules.heads"), _package("lightly.loss")
        head = heads.SimCLRProjectionHead(ours.encoder.dim, objective.head_hidden, objective.head_dim)
        assert isinstance(ours.encoder, ViT)
        self.model: Any = nn.ModuleDict({"encoder": ours.encoder, "head": head}).train()
        self.name = f"SimCLR of lightly {version('lightly')}"
        self.differs = (
            "differs: its projection head has two layers, batch norm of each view and ReLU, ours three layers"
        )
        self.differs += ", layer norm and GELU; its loss has films of one study as negatives"
        self.views: Mapping[str, ViewSpec] = objective.views()
        self._vit, self._loss = ours.encoder, losses.NTXentLoss(objective.temperature)

    def loss(self, batch: Batch, precision: str) -> Tensor:
        """Its loss on the two views of every film."""
        device = self._vit.cls.device
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            first, second = (
                self.model["head"](self._vit.forward(batch.views[name].visible.to(device)).pooled)  # type: ignore[union-attr]
                for name in VIEWS
            )
        loss: Tensor = self._loss(first.float(), second.float())
        return loss

    def encoder(self) -> ViT:
        """The encoder that was trained."""
        return self._vit


def as_images(patches: Patches, settings: EncoderSettings) -> Tensor:
    """Put the patches of square films together.

    Args:
        patches: all patches of B square films, row by row.
        settings: of the encoder, with its mean and std.

    Returns:
        [B, 1, side, side] float32, normalised.
    """
    values, patch = patches.values.float(), settings.patch
    across = math.isqrt(values.shape[1])
    images = values.reshape(-1, across, across, patch, patch).transpose(2, 3).reshape(-1, 1, *2 * (across * patch,))
    return (images / DISPLAY_RANGE - settings.mean) / settings.std


def train_other(other: Other, settings: PretrainSettings, index: ShardIndex, workers: int) -> list[float]:
    """Train the other implementation on the films of the run, in their order.

    Args:
        other: implementation.
        settings: settings of the run.
        index: training films.
        workers: loader processes.

    Returns:
        The loss of every step.
    """
    optimizer, model = settings.optimizer, other.model.to(fast_device())
    torch.manual_seed(settings.seed)
    order = Order(len(index), settings.seed, optimizer.batch, index.weights(settings.data.weights))
    steps = StepRange(0, optimizer.steps, 0, 1, optimizer.batch)
    batches = training_batches(index, order, other.views, steps, patch=settings.encoder.patch, workers=workers)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tokens_and_biases = [parameter for parameter in trained if parameter.squeeze().ndim < 2]
    matrices = [parameter for parameter in trained if parameter.squeeze().ndim >= 2]
    adamw = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": optimizer.weight_decay},
            {"params": tokens_and_biases, "weight_decay": 0},
        ],
        lr=0.0,
        betas=optimizer.betas,
        fused=True,
    )
    losses, progress = [], Progress("outside check", "films", optimizer.steps * optimizer.batch)
    for step, (batch, _) in enumerate(batches):
        loss = other.loss(batch, settings.precision)
        adamw.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, optimizer.clip_norm or math.inf)
        for group in adamw.param_groups:
            group["lr"] = learning_rate(step, optimizer)
        adamw.step()
        losses.append(loss.item())
        progress.add(optimizer.batch, f"step {step + 1}/{optimizer.steps}, loss {losses[-1]:.4f}")
    progress.close()
    return losses


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise WeightsError(
            f"{package} cannot be imported ({error}). Install it beside the project, not into it: pip install --no-deps"
            f" --target FOLDER {package}; then give --packages FOLDER."
        ) from None
