"""Settings of ``label``: how tables and annotation files of experts are read."""

from typing import Literal

from pydantic import Field

from data_prep.annotations.settings import DrawingSettings
from data_prep.settings import Settings
from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.statistics.kappa import Resampling


class LabelColumns(Settings):
    """Names of the columns of CSV tables."""

    film: str | None = None
    """Column that names the film by its path, the end of it, or its SOP Instance UID; by default sop_instance_uid,
    else path."""
    label: str = "label"
    """Column with the name of the finding. A table of labels without it is wide: every further column is a label."""
    reader: str = "reader"
    """Column with the name of the reader."""
    box: list[str] = Field(default=["x_min", "y_min", "x_max", "y_max"], min_length=4, max_length=4)
    box_form: Literal["corners", "corner_and_size", "centre_and_size"] = "corners"
    """Meaning of the four columns, in pixels: left, top, right, bottom; left, top, width, height; or the centre."""


class AgreementSettings(Settings):
    """How the agreement of readers is measured."""

    iou: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which boxes of two readers mean the same."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap resamples of the patients, for intervals of 95 %."""
    seed: int = Field(default=0, ge=0)

    @property
    def resampling(self) -> Resampling:
        """Resampling of the patients, for an interval."""
        return Resampling(self.repetitions, self.seed)


class LabelSettings(DrawingSettings):
    """How the entries of experts become labels."""

    unknown_films: Literal["reject", "list"] = "reject"
    """Rows of films that the scan does not have: reject writes nothing, list skips and lists them. A scan of a later
    batch does not have the films of earlier ones."""
    numbers: list[str] = Field(default=[])
    """Columns of a wide table whose cells are numbers."""
    columns: LabelColumns = LabelColumns()
    policy: LabelPolicy = LabelPolicy()
    """How statistics and conflicts resolve several sources and readers; the labels keep every entry."""
    agreement: AgreementSettings = AgreementSettings()
