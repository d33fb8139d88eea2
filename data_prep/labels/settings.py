"""Settings of the label command: how tables and annotation files of experts are read."""

import re
from typing import Literal

from pydantic import Field, field_validator

from data_prep.annotations.settings import DrawingSettings, LabelName
from data_prep.settings import Settings
from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.statistics.kappa import Resampling


class LabelColumns(Settings):
    """Names of the columns of CSV tables."""

    film: str | None = None
    """Column that identifies the film: its path, the end of its path, or its SOP Instance UID (default:
    sop_instance_uid, else path)."""
    label: str = "label"
    """Column with the name of the finding. A table of labels without it is wide: each other column is a label."""
    reader: str = "reader"
    """Column with the name of the reader."""
    box: list[str] = Field(default=["x_min", "y_min", "x_max", "y_max"], min_length=4, max_length=4)
    """Four columns of numbers that give a box; ``box_form`` states what they mean."""
    box_form: Literal["corners", "corner_and_size", "centre_and_size"] = "corners"
    """Meaning of the four columns, in pixels: left, top, right, bottom; left, top, width, height; or centre x and y,
    width, height."""
    one_hot: dict[LabelName, list[str]] = Field(default={})
    """Fact → columns of a wide table of which exactly one is present, as names or patterns such as ``region_*``. The
    labels are called after the fact and the column; a row with several is uncertain, one with none gives no label."""
    classes: dict[str, LabelName] = Field(default={})
    """Column of a wide table whose cells name classes → fact, such as {bodypart: region}: each class becomes a label,
    such as region_knee, of which one is present. ``rename`` joins spellings: {Knie: region_knee}."""


class AgreementSettings(Settings):
    """Settings of the agreement of readers."""

    iou: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which boxes of two readers match."""
    repetitions: int = Field(default=1000, ge=100)
    """Number of bootstrap resamples of the patients, for 95 % intervals."""
    seed: int = Field(default=0, ge=0)
    """Seed of the resamples."""

    @property
    def resampling(self) -> Resampling:
        """Number and seed of the resamples."""
        return Resampling(self.repetitions, self.seed)


class ReportSettings(Settings):
    """How reports are named."""

    pattern: str | None = None
    r"""Regular expression of the whole name of a report file, with the group ``study``: its accession number, study
    UID, film or folder, such as ``Befund__?(?P<study>[\w-]{11})\.txt``. Other files are listed. By default the name
    without its ending."""
    study_folder: int | None = Field(default=None, ge=1, le=32)
    """Folder above a film that is named after its examination, as reports name it: 1 is the folder that the file lies
    in, 2 the one above. By default no folder names a study."""

    @field_validator("pattern")
    @classmethod
    def _has_the_group(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern).groupindex if pattern is not None else {"study": 1}
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if "study" not in groups:
            raise ValueError("must have the group (?P<study>…), the name of the study")
        return pattern


class LabelSettings(DrawingSettings):
    """Settings of the conversion of experts' entries to labels."""

    unknown_films: Literal["reject", "list"] = "reject"
    """Rows of films that the scan does not have: with reject nothing is written, with list they are skipped and listed.
    The scan of a later batch does not have the films of earlier batches."""
    not_names: list[str] = Field(default=[])
    """Words of labels that are findings although a patient of the scan is called so, for example [stein]."""
    unknown_words: Literal["reject", "list"] = "reject"
    """Cells of a wide table that are no known word: with reject nothing is written, with list they give no label and
    are listed. An unknown word is never a negative."""
    words: dict[str, Literal["present", "absent", "uncertain"] | None] = Field(default={})
    """Further words of cells → value, such as {oui: present}; null is a cell without a value."""
    source: Literal["expert", "report", "metadata"] = "expert"
    """Source of the labels of tables without a column ``source``; report for labels that were drawn from reports."""
    numbers: list[str] = Field(default=[])
    """Columns of a wide table whose cells are numbers."""
    columns: LabelColumns = LabelColumns()
    reports: ReportSettings = ReportSettings()
    policy: LabelPolicy = LabelPolicy()
    """How several sources and readers are resolved in statistics and conflicts; the labels keep every entry."""
    agreement: AgreementSettings = AgreementSettings()
