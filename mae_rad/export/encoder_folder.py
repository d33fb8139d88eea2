"""Save and load an encoder as a folder without pickled code; the folder appears complete or not at all.

encoder.safetensors    the weights, float32
encoder.json           settings, preprocessing, provenance, checksum (EncoderCard)
README.md              model card
objective.safetensors  optional: decoder or projection head, for reconstructions or further training
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_prep.bounded_reading import MAX_CARD_BYTES, read_bounded
from data_prep.runtime.atomic_write import atomic_folder
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder, build_any_encoder
from mae_rad.encoders.vit import ViT
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import EncoderCard, Preprocessing, encoder_readme
from mae_rad.objectives.interface import Objective

S = TypeVar("S", bound=BaseModel)

_log = logging.getLogger(__name__)

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"
OBJECTIVE = "objective.safetensors"


def save_encoder(
    encoder: Encoder,
    settings: AnyEncoderSettings,
    folder: Path,
    *,
    tokens: int,
    precision: Literal["f32", "bf16"] = "bf16",
    provenance: Mapping[str, str | int | float | None],
    objective: nn.Module | None = None,
) -> EncoderCard:
    """Write an encoder folder; an existing encoder folder is replaced.

    Args:
        encoder: encoder with its full weights, not partitioned over ranks.
        settings: settings that it was built from.
        folder: folder to write.
        tokens: T that it was trained at.
        precision: precision that it was trained in.
        provenance: hashes of config and shards, steps, versions and names of labels; it becomes public.
        objective: module that contains the encoder; its other weights are saved, too.

    Returns:
        The card that was written.

    Raises:
        WeightsError: the weights do not fit the settings or are not finite, or the folder holds other files.
    """
    weights = portable(encoder.state_dict())
    check_fit(weights, without_weights(settings), "the encoder")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise WeightsError("the encoder has weights that are not finite. Export an earlier checkpoint.")
    with exported_folder(folder, mark=CARD) as partial:
        save_file(weights, partial / WEIGHTS)
        if objective is not None:
            state = portable(objective.state_dict())
            save_file({name: state[name] for name in state if not name.startswith("encoder.")}, partial / OBJECTIVE)
        card = EncoderCard(
            encoder=settings,
            preprocessing=Preprocessing(
                tokens=tokens, patch=settings.patch, mean=settings.mean, std=settings.std, precision=precision
            ),
            provenance=dict(provenance),
            parameters=sum(value.numel() for value in encoder.parameters()),
            weights_sha256=sha256_of(partial / WEIGHTS),
        )
        (partial / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(encoder_readme(card), encoding="utf-8")
    return card


@contextmanager
def exported_folder(folder: Path, *, mark: str) -> Iterator[Path]:
    """Write an export atomically: yield a temporary folder that takes the name ``folder`` at the end.

    Args:
        folder: folder to write; an existing one that holds ``mark`` is replaced.
        mark: name of a file that every folder of this kind holds.

    Yields:
        The temporary folder.

    Raises:
        WeightsError: ``folder`` exists and holds other files, or it cannot be written.
    """
    try:
        with atomic_folder(folder, mark) as partial:
            yield partial
    except FileExistsError as error:
        raise WeightsError(f"{folder} exists and holds no {mark}, so it is not replaced. Give another path.") from error
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("I/O error: ")[2]
        if isinstance(error, FileNotFoundError) or not reason:
            raise  # the error is of a file that was read, not written
        raise WeightsError(
            f"{folder} cannot be written ({reason}). Free disk space and run the same command again."
        ) from error


def load_encoder(folder: Path) -> tuple[Encoder, EncoderCard]:
    """Read an encoder folder.

    Returns:
        The encoder on the CPU, in evaluation mode, and its card.

    Raises:
        WeightsError: the folder is missing or incomplete, of another version, damaged, or its weights do not fit.
    """
    card, path = read_card(folder), folder / WEIGHTS
    weights = load_weights(path, card.weights_sha256)
    check_fit(weights, without_weights(card.encoder), str(path))
    return with_weights(card.encoder, weights).eval(), card


def start_from(folder: Path, objective: Objective) -> EncoderCard:
    """Load the weights of an encoder folder into an objective, with the saved decoder or head if all shapes fit.

    Args:
        folder: encoder folder.
        objective: objective that receives the weights.

    Returns:
        The card of the folder.

    Raises:
        WeightsError: as :func:`load_encoder`, or the encoder has other settings.
    """
    card = start_encoder(folder, objective.encoder)
    saved = load_file(folder / OBJECTIVE) if (folder / OBJECTIVE).is_file() else {}
    expected = {name: value.shape for name, value in objective.state_dict().items() if not name.startswith("encoder.")}
    if saved and expected == {name: value.shape for name, value in saved.items()}:
        objective.load_state_dict(saved, strict=False)
    else:
        _log.warning(
            "training starts from the encoder alone: %s has no decoder or head that fits this objective", folder.name
        )
    return card


def start_encoder(folder: Path, target: Encoder) -> EncoderCard:
    """Load the weights of an encoder folder into an encoder.

    Where the emphasis differs, the patch embedding is converted so that patches have the same embedding as before.

    Args:
        folder: encoder folder.
        target: encoder that receives the weights.

    Returns:
        The card of the folder.

    Raises:
        WeightsError: as :func:`start_from`.
    """
    encoder, card = load_encoder(folder)
    check_fit(encoder.state_dict(), target, str(folder))
    saved, given = ({"heads": part.heads, "mean": part.mean, "std": part.std} for part in (encoder, target))
    if saved != given:
        raise WeightsError(
            f"{folder} was trained with {saved}, but the settings of encoder are {given}. Set them to the same values."
        )
    target.load_state_dict(encoder.state_dict())
    if isinstance(target, ViT) and isinstance(encoder, ViT) and target.emphasis != encoder.emphasis:
        _log.warning("encoder.emphasis changes from %g to %g, as set", encoder.emphasis, target.emphasis)
        target.patch_kernel = encoder.patch_kernel
    return card


def descent(start: EncoderCard | None, labels: Sequence[str] = ()) -> dict[str, str | int | float | None]:
    """Provenance of weights that were initialised from an encoder: its checksum, all labels trained on, photographs.

    Args:
        start: card of that encoder; None after a random initialisation.
        labels: names of the labels trained on since.

    Returns:
        Entries for the provenance of a card.
    """
    earlier = str(start.provenance.get("labels") or "").split(", ") if start else []
    names = ", ".join(sorted({*earlier, *labels} - {""}))
    origin: dict[str, str | int | float | None] = {"started_from_sha256": start.weights_sha256 if start else None}
    photographs = start.provenance.get("photographs") if start else None
    return origin | ({"labels": names} if names else {}) | ({"photographs": photographs} if photographs else {})


def read_card(folder: Path) -> EncoderCard:
    """Read the card of an encoder folder; raises as :func:`load_encoder`."""
    if folder.is_file():
        raise WeightsError(
            f"{folder} is a file, not an encoder folder. Convert published weights first:"
            " python -m mae_rad.export.convert WEIGHTS --out FOLDER"
        )
    return read_settings(folder / CARD, EncoderCard, "an encoder folder", "the encoder folder of a run")


def read_settings(path: Path, model: type[S], kind: str, wanted: str) -> S:
    """Read the JSON card of a folder.

    Args:
        path: JSON file.
        model: its schema.
        kind: name of this kind of folder, for messages.
        wanted: folder that the user should give instead, for messages.

    Returns:
        The validated card.

    Raises:
        WeightsError: the file is missing, damaged or of another version.
    """
    try:
        text = read_bounded(path, MAX_CARD_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path.parent} is not {kind}: it has no {path.name}. Give {wanted}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read ({type(error).__name__}). Give a readable copy.") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise WeightsError(
            f"{path} is damaged or of another version: {where}: {problem['msg']}. Export it again."
        ) from None


def load_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file and check its checksum.

    Args:
        path: safetensors file.
        sha256: SHA-256 (hex) that the file must have.

    Returns:
        Name → tensor, on the CPU.

    Raises:
        WeightsError: it is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"{path.parent} has no {path.name}. Export it again.")
    if sha256_of(path) != sha256:
        raise WeightsError(f"{path} is damaged: its checksum is not that of its card. Copy or export it again.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}). Copy or export it again.") from None


def portable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights to the CPU as contiguous float32, as they are saved; counters of batch norm stay integers."""
    return {
        name: value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in state.items()
    }


def without_weights(settings: AnyEncoderSettings) -> Encoder:
    """Build the encoder on the meta device: names and shapes without memory."""
    with torch.device("meta"):  # neither memory nor random numbers
        return build_any_encoder(settings)


def with_weights(settings: AnyEncoderSettings, weights: Mapping[str, Tensor]) -> Encoder:
    """Build an encoder with given weights.

    Args:
        settings: settings of the encoder.
        weights: name → weight, of its names and shapes.
    """
    encoder = without_weights(settings)
    encoder.load_state_dict(weights, assign=True)
    if any(buffer.is_meta for buffer in encoder.buffers()):
        # Some networks compute values that are no weights, such as rotary positions, when they are built.
        with torch.random.fork_rng(devices=[]):
            encoder = build_any_encoder(settings)
        encoder.load_state_dict(weights)
    return encoder


def check_fit(weights: Mapping[str, Tensor], module: nn.Module, where: str) -> None:
    """Check that weights have exactly the names and shapes of a module.

    Args:
        weights: name → weight.
        module: module that they are meant for.
        where: their origin, for messages.

    Raises:
        WeightsError: a weight is missing, not expected or of another shape.
    """
    expected = module.state_dict()
    problems = [
        *(f"{name} is missing" for name in expected if name not in weights),
        *(f"{name} is not expected" for name in weights if name not in expected),
        *(
            f"{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}"
            for name, value in expected.items()
            if name in weights and weights[name].shape != value.shape
        ),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(f"weights of {where} do not fit its settings: {'; '.join(problems[:3])}{more}")


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
