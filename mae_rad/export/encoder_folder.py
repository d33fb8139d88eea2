"""An encoder as a folder that travels. Nothing is pickled; the folder appears complete or not at all.

encoder.safetensors    the weights, float32
encoder.json           settings, preprocessing, provenance, checksum (EncoderCard)
README.md              model card
objective.safetensors  optional: decoder or projection head, to look at or to go on training
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

from data_prep.runtime.atomic_write import atomic_folder
from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import EncoderCard, Preprocessing, model_card
from mae_rad.objectives.interface import Objective

S = TypeVar("S", bound=BaseModel)

_log = logging.getLogger(__name__)

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"
OBJECTIVE = "objective.safetensors"


def save_encoder(
    encoder: ViT,
    settings: EncoderSettings,
    folder: Path,
    *,
    tokens: int,
    precision: Literal["f32", "bf16"] = "bf16",
    provenance: Mapping[str, str | int | float | None],
    objective: nn.Module | None = None,
) -> EncoderCard:
    """Write an encoder folder; an encoder folder that is there is replaced.

    Args:
        encoder: whole, not partitioned over ranks.
        settings: that it was built from.
        folder: to be made.
        tokens: T that it was trained at.
        precision: that it was trained in.
        provenance: hashes of config and shards, steps, versions, names of labels; it becomes public.
        objective: the module around the encoder, whose other weights are kept beside it.

    Raises:
        WeightsError: the weights do not fit the settings or are not finite, or the folder holds something else.
    """
    weights = portable(encoder.state_dict())
    check_fit(weights, without_weights(settings), "the encoder")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise WeightsError("the encoder has weights that are not finite; export an earlier checkpoint")
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
            parameters=sum(value.numel() for value in weights.values()),
            weights_sha256=sha256_of(partial / WEIGHTS),
        )
        (partial / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(card), encoding="utf-8")
    return card


@contextmanager
def exported_folder(folder: Path, *, mark: str) -> Iterator[Path]:
    """:func:`atomic_folder` of an export.

    Args:
        folder: to be made; one that is there and holds ``mark`` is replaced.
        mark: name of a file that every folder of this kind holds.

    Raises:
        WeightsError: ``folder`` is there and is something else, or the disk does not take it.
    """
    try:
        with atomic_folder(folder, mark) as partial:
            yield partial
    except FileExistsError as error:
        raise WeightsError(f"{folder} exists and holds no {mark}, so it is not replaced; give another path") from error
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("I/O error: ")[2]
        if isinstance(error, FileNotFoundError) or not reason:
            raise  # of a file that was read
        raise WeightsError(
            f"{folder} cannot be written ({reason}); free disk space and run the same command again"
        ) from error


def load_encoder(folder: Path) -> tuple[ViT, EncoderCard]:
    """Read an encoder folder.

    Returns:
        The encoder on the CPU, in evaluation mode, and its card.

    Raises:
        WeightsError: the folder is missing or incomplete, of another version, damaged, or its weights do not fit.
    """
    card, path = read_card(folder), folder / WEIGHTS
    weights = load_weights(path, card.weights_sha256)
    encoder = without_weights(card.encoder)
    check_fit(weights, encoder, str(path))
    encoder.load_state_dict(weights, assign=True)
    return encoder.eval(), card


def start_from(folder: Path, objective: Objective) -> EncoderCard:
    """Give an objective the weights of an encoder folder, and of the decoder or head kept there if all of them fit.

    Returns:
        What the folder says of the encoder.

    Raises:
        WeightsError: as ``load_encoder``, or the encoder is another one.
    """
    card = start_encoder(folder, objective.encoder)
    rest = load_file(folder / OBJECTIVE) if (folder / OBJECTIVE).is_file() else {}
    expected = {name: value.shape for name, value in objective.state_dict().items() if not name.startswith("encoder.")}
    if rest and expected == {name: value.shape for name, value in rest.items()}:
        objective.load_state_dict(rest, strict=False)
    else:
        _log.warning("started from an encoder alone: no decoder or head beside it fits this objective")
    return card


def start_encoder(folder: Path, own: ViT) -> EncoderCard:
    """Give an encoder the weights of an encoder folder; returns and raises as :func:`start_from`.

    Where the emphasis is another one, the patch embedding is turned so that patches are embedded alike.
    """
    encoder, card = load_encoder(folder)
    check_fit(encoder.state_dict(), own, str(folder))
    theirs, ours = ({"heads": part.heads, "mean": part.mean, "std": part.std} for part in (encoder, own))
    if theirs != ours:
        raise WeightsError(
            f"{folder} was trained with {theirs}, and the settings of encoder say {ours}; set them alike"
        )
    own.load_state_dict(encoder.state_dict())
    if own.emphasis != encoder.emphasis:
        _log.warning("started from an encoder of emphasis %g, and goes on with %g", encoder.emphasis, own.emphasis)
        own.patch_kernel = encoder.patch_kernel
    return card


def descent(start: EncoderCard | None, labels: Sequence[str] = ()) -> dict[str, str | int | float | None]:
    """Provenance of weights that began as those of ``start``: which these are, and all labels they have learned from.

    Args:
        start: None where they began at random.
        labels: names of labels that they learned from since.
    """
    told = str(start.provenance.get("labels") or "").split(", ") if start else []
    known = ", ".join(sorted({*told, *labels} - {""}))
    origin: dict[str, str | int | float | None] = {"started_from_sha256": start.weights_sha256 if start else None}
    return origin | ({"labels": known} if known else {})


def read_card(folder: Path) -> EncoderCard:
    """Read what an encoder folder says of itself; errors as ``load_encoder``."""
    return read_settings(folder / CARD, EncoderCard, "an encoder folder", "the encoder folder of a run")


def read_settings(path: Path, model: type[S], kind: str, wanted: str) -> S:
    """Read what a folder says of itself in the file ``path``.

    Args:
        path: JSON.
        model: what it holds.
        kind: of the folder, in words.
        wanted: what should be given in its place.

    Raises:
        WeightsError: the file is missing, damaged or of another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path.parent} is not {kind}: it has no {path.name}; give {wanted}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise WeightsError(f"{path} is damaged or of another version: {where}: {problem['msg']}") from None


def load_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: it is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"{path.parent} has no {path.name}; export it again")
    if sha256_of(path) != sha256:
        raise WeightsError(f"{path} is damaged: its checksum is not the one beside it; copy or export it again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}); copy or export it again") from None


def portable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are written: on the CPU, float32."""
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in state.items()}


def without_weights(settings: EncoderSettings) -> ViT:
    """The encoder as names and shapes, on the meta device."""
    with torch.device("meta"):  # neither memory nor random numbers
        return build_encoder(settings)


def check_fit(weights: Mapping[str, Tensor], module: nn.Module, where: str) -> None:
    """Refuse weights that are not exactly those of ``module``, by name and shape.

    Raises:
        WeightsError: names what is missing, not expected or of another shape.
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
