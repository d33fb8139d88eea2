"""Settings of predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from data_prep.settings import Settings


class PredictRuntime(Settings):
    """Settings that change no prediction beyond rounding."""

    renamed: ClassVar[Mapping[str, str]] = {"file_seconds": "file_timeout_seconds"}

    batch_size: int = Field(default=16, ge=1)
    """Films per forward pass."""
    workers: int = Field(default=2, ge=0)
    """Processes that read films, and threads that write pictures and reports. 0 reads in this process: for debuggers,
    since a decoder that crashes takes everything with it."""
    file_timeout_seconds: float = Field(default=120, gt=0)
    """A file that takes longer is given up (``decoder_timeout``)."""
    memory_gib: float = Field(default=8, ge=0)
    """Memory that a process may take for a film, beyond what it begins with; 0 sets no limit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


class AnswerSettings(Settings):
    """What is asked of a model, and what comes out."""

    body_part: str | None = None
    """Of films whose file tells none, such as PNG and JPEG: a word of the model's scope."""
    view: str | None = None
    """The same for the view."""
    out_of_scope: Literal["refuse", "answer"] = "refuse"
    """What becomes of films of body parts or views that the model has not seen in training; answers are marked."""
    overlays: Literal["all", "findings", "none"] = "all"
    """Pictures of all films, of those with something at an operating point, or of none."""
    explain: Literal["grad_cam", "attention_rollout", "none"] = "grad_cam"
    """Heat map beside the film, where the model does not draw boxes; of one that scores every patch (``max_score``)
    these scores stand in the place of Grad-CAM."""
    reports: bool = True
    """DICOM Structured Reports of DICOM films."""
    runtime: PredictRuntime = PredictRuntime()


class PredictSettings(AnswerSettings):
    """The same, and where it goes."""

    out: Path
    """Private folder for all that comes out; made with mode 0700."""
