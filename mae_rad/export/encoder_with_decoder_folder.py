"""An encoder together with its decoder or projection head, to go on training or to draw reconstructions.

A run folder holds both; an exported folder holds them like this:

encoder.safetensors encoder.json README.md   as every encoder folder
objective.safetensors                        the other weights of the objective
objective.json                               settings of the objective
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import CARD, OBJECTIVE, WEIGHTS, check_fit, load_encoder, without_weights
from mae_rad.objectives import FILM, Objective, ObjectiveSettings, objective_settings
from mae_rad.objectives.interface import Reconstructs

SETTINGS = "objective.json"


class Trained(NamedTuple):
    """A trained objective.

    Attributes:
        objective: with its weights, on the CPU, in evaluation mode.
        settings: that it was built from.
        card: of its encoder.
    """

    objective: Objective
    settings: ObjectiveSettings
    card: EncoderCard


def encoder_folder(path: Path) -> Path:
    """The encoder folder of a run, or the encoder folder that was given."""
    return path / "encoder" if (path / "encoder").is_dir() else path


def load_objective(path: Path) -> Trained:
    """Read a run folder, or a folder that ``write_objective`` made.

    Raises:
        WeightsError: the folder has no encoder or nothing beside it, is damaged, or its weights do not fit.
    """
    folder = encoder_folder(path)
    encoder, card = load_encoder(folder)
    settings = _settings(path, folder)
    weights_path = folder / OBJECTIVE
    if not weights_path.is_file():
        raise WeightsError(f"{folder} has no {OBJECTIVE}: the decoder or head was not kept; give a run folder")
    try:
        rest = load_file(weights_path)
    except SafetensorError as error:
        raise WeightsError(f"{weights_path} is not a safetensors file ({error}); copy or export it again") from None
    with torch.device("meta"):
        objective = settings.build({FILM: without_weights(card.encoder)})
    weights = rest | {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    check_fit(weights, objective, str(weights_path))
    objective.load_state_dict(weights, assign=True)
    return Trained(objective.eval(), settings, card)


def write_objective(path: Path, folder: Path) -> str:
    """Write the encoder of ``path`` and what is around it into ``folder``; returns how to use it, as Markdown."""
    trained, source = load_objective(path), encoder_folder(path)  # read, so that what is written can be read
    for name in (WEIGHTS, CARD, OBJECTIVE):
        shutil.copyfile(source / name, folder / name)
    (folder / SETTINGS).write_text(trained.settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return f"""```python
from pathlib import Path
from mae_rad.export.encoder_with_decoder_folder import load_objective

objective, settings, card = load_objective(Path("this folder"))  # {trained.settings.name}, its weights loaded
features = objective.encoder(patches)  # mae_rad.data.batch.Patches
{_more(trained.objective)}```

To train on: `launch/pretrain.py … start_from="this folder"`.
"""


def _more(objective: Objective) -> str:
    if isinstance(objective, Reconstructs):
        return "pixels = objective.reconstruct(view)  # mae_rad.data.batch.View -> [B, P, p*p] display values\n"
    return "output = objective(batch)  # mae_rad.data.batch.Batch -> loss, metrics\n"


def _settings(path: Path, folder: Path) -> ObjectiveSettings:
    values: Any
    try:
        if (folder / SETTINGS).is_file():
            values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        else:
            config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
            if "task" in config:
                raise WeightsError(
                    f"{path} is a finetuning, which has neither decoder nor projection: export it --to timm"
                )
            values = config["objective"]
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(
            f"{path} does not say what the encoder was trained with (no config.yaml, no {SETTINGS}); give a run folder"
        ) from None
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        raise WeightsError(f"the settings in {path} are damaged; give another copy of the run folder") from None
    try:
        return objective_settings(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise WeightsError(f"the settings in {path} are of another version: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise WeightsError(f"the settings in {path} are of another version: {error}") from None
