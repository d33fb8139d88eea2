"""Settings of predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from data_prep.settings import Settings


class PredictRuntime(Settings):
    """Settings that do not change a prediction, except for rounding."""

    renamed: ClassVar[Mapping[str, str]] = {"file_seconds": "file_timeout_seconds"}

    batch_size: int = Field(default=16, ge=1)
    """Films per forward pass."""
    workers: int = Field(default=2, ge=0)
    """Processes that read films, and as many that write pictures and reports. 0 does both in this process, for
    debugging: a crash of a decoder then ends the program."""
    file_timeout_seconds: float = Field(default=120, gt=0)
    """Time limit for reading one file; a file that takes longer is rejected as ``decoder_timeout``."""
    memory_gib: float = Field(default=8, ge=0)
    """Memory limit of a reading process in GiB, beyond what it uses at its start; 0 sets no limit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; ``auto`` is the GPU where there is one."""


class InferenceSettings(Settings):
    """Settings of predictions, without the output folder."""

    body_part: str | None = None
    """Body part of films whose file states none, such as PNG and JPEG; it must have been in training."""
    view: str | None = None
    """View of films whose file states none: one of the views in the model's training."""
    out_of_scope: Literal["refuse", "answer"] = "refuse"
    """Films of body parts or views that were not in training get no prediction (``refuse``), or one that is marked as
    out of scope (``answer``)."""
    overlays: Literal["all", "findings", "none"] = "all"
    """Pictures of all films, only of films on which a score reaches an operating point, or of none."""
    explain: Literal["grad_cam", "attention_rollout", "none"] = "grad_cam"
    """Heat map next to the film, for classifications; of exclusive classes, for the predicted one; numbers have none.
    With ``task.pool: max_score``, the scores of the patches are drawn in place of Grad-CAM."""
    reports: bool = True
    """Write a DICOM Structured Report for every DICOM film; not for models of numbers and exclusive classes, for which
    there is none yet."""
    presentation_states: bool = True
    """Write a DICOM Grayscale Softcopy Presentation State for every DICOM film: boxes, answers and warnings, which a
    viewer draws over the film."""
    runtime: PredictRuntime = PredictRuntime()


class PredictSettings(InferenceSettings):
    """Settings of the predict command."""

    out: Path
    """Private output folder, created with mode 0700."""
