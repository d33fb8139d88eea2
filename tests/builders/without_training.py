"""An environment in which the packages of the extra ``train`` are not installed, for child processes and theirs."""

import os
from pathlib import Path

TRAINING = ("captum", "deepspeed", "highdicom", "matplotlib", "mlflow", "safetensors", "scipy", "sklearn", "timm",
            "threadpoolctl", "torch", "torchmetrics", "torchvision")  # fmt: skip


def without_training(folder: Path, packages: Path) -> dict[str, str]:
    """Environment variables: every Python process started with them finds ``packages``, and none of ``TRAINING``.

    Args:
        folder: new folder for the start file of these processes.
        packages: folder that holds ``mae_rad`` and ``data_prep``.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({TRAINING!r}))\n")
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{packages}"}
