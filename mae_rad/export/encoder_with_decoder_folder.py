"""Load and export an encoder with its decoder or projection head, for reconstructions or further training.

A run folder holds both; an exported folder has these files:

encoder.safetensors encoder.json README.md   as in every encoder folder
objective.safetensors                        the other weights of the objective
objective.json                               settings of the objective
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded, read_json
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import CARD, OBJECTIVE, WEIGHTS, check_fit, load_encoder
from mae_rad.objectives import FILM, Objective, ObjectiveSettings, objective_settings
from mae_rad.objectives.interface import Reconstructs

SETTINGS = "objective.json"


class Trained(NamedTuple):
    """A trained objective.

    Attributes:
        objective: objective with its weights, on the CPU, in evaluation mode.
        settings: settings that it was built from.
        card: card of its encoder.
    """

    objective: Objective
    settings: ObjectiveSettings
    card: EncoderCard


def encoder_folder(path: Path) -> Path:
    """Return the encoder folder of a run folder; an encoder folder is returned as it is."""
    return path / "encoder" if (path / "encoder").is_dir() else path


def load_objective(path: Path) -> Trained:
    """Read a run folder, or a folder written by :func:`write_objective`.

    Raises:
        WeightsError: the folder has no encoder, no decoder or head, is damaged, or its weights do not fit.
    """
    folder = encoder_folder(path)
    encoder, card = load_encoder(folder)
    settings = _settings(path, folder)
    weights_path = folder / OBJECTIVE
    if not weights_path.is_file():
        raise WeightsError(f"{folder} has no {OBJECTIVE}: the decoder or head was not exported. Give a run folder.")
    try:
        saved = load_file(weights_path)
    except SafetensorError as error:
        raise WeightsError(f"{weights_path} is not a safetensors file ({error}). Copy or export it again.") from None
    with torch.device("meta"):
        objective = settings.build({FILM: encoder})
    weights = saved | {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    check_fit(weights, objective, str(weights_path))
    objective.load_state_dict(weights, assign=True)
    return Trained(objective.eval(), settings, card)


def write_objective(path: Path, folder: Path) -> str:
    """Copy encoder, decoder or head, and their settings into a folder.

    Args:
        path: run folder, or encoder folder with its decoder or head.
        folder: existing folder to write into.

    Returns:
        Markdown that shows how to load the folder.
    """
    trained, source = load_objective(path), encoder_folder(path)  # loading it first checks that the copy can be loaded
    dim = trained.card.encoder.shape.dim
    for name in (WEIGHTS, CARD, OBJECTIVE):
        shutil.copyfile(source / name, folder / name)
    (folder / SETTINGS).write_text(trained.settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return f"""```python
import mae_rad

vectors = mae_rad.load_encoder("this folder").embed(["film.dcm"])  # [films, {dim}] float32; DICOM, PNG or JPEG files
```

The encoder with its {trained.settings.name} decoder or projection head, for tensors:

```python
from pathlib import Path
from mae_rad.export.encoder_with_decoder_folder import load_objective

objective, settings, card = load_objective(Path("this folder"))
{_example(trained.objective)}```

To train it further: `mae-rad pretrain … start_from="this folder"`.
"""


def _example(objective: Objective) -> str:
    if isinstance(objective, Reconstructs):
        return "pixels = objective.reconstruct(view)  # mae_rad.data.batch.View -> [B, P, p*p] display values\n"
    return "output = objective(batch)  # mae_rad.data.batch.Batch -> loss, metrics\n"


def _settings(path: Path, folder: Path) -> ObjectiveSettings:
    values: Any
    try:
        if (folder / SETTINGS).is_file():
            values = read_json(folder / SETTINGS)
        else:
            config = parse_yaml(read_bounded(path / "config.yaml", MAX_YAML_BYTES).decode())
            if "task" in config:
                raise WeightsError(
                    f"{path} is a finetuning, which has neither decoder nor projection head. Export it --to timm."
                )
            values = config["objective"]
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(
            f"{path} has neither config.yaml nor {SETTINGS}, the settings of the objective. Give a run folder."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(f"the settings in {path} are damaged. Give another copy of the run folder.") from None
    try:
        return objective_settings(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise WeightsError(
            f"the settings in {path} are of another version: {where}: {problem['msg']}. Export it with that version."
        ) from None
    except ValueError as error:
        raise WeightsError(
            f"the settings in {path} are of another version: {error}. Export it with that version."
        ) from None
