"""Settings for tables and boxes of public data sets and of experts."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.settings import Settings

LayoutName = Literal[
    "nih_chestxray14", "mura", "grazpedwri_dx", "object_cxr", "vindr_cxr", "fracatlas", "coco", "voc", "yolo", "table"
]
"""Each is a file of ``data_prep.public_datasets`` or, for the last four, of ``data_prep.annotations``."""

FACTS = ("patient", "study", "body_part", "view", "laterality", "sex", "age")
"""Facts of a film that a table may hold, apart from split, labels and boxes."""

LabelName = Annotated[str, Field(pattern="^[a-z0-9_]{1,64}$")]


class DrawingSettings(Settings):
    """How names and boxes are read."""

    box_frame: Literal["upright", "stored"] = "upright"
    """Raster that boxes refer to, where a JPEG has an EXIF orientation: upright (orientation applied, as nearly all
    programs display it) or stored. A width and height in the annotation that fit only one of them override this."""
    boxes_complete: bool = True
    """coco, voc and yolo: a film whose annotation has no box of a class does not have the finding (absent); with
    false it has no such label."""
    rename: dict[str, LabelName | None] = Field(default_factory=dict)
    """Name of a class or column → label; null ignores it. Several names may map to one label."""


class TableSettings(DrawingSettings):
    """Settings for every layout."""

    film_is_patient: bool = False
    """Treat each film without a patient as a patient of its own. Only for data sets with one film per patient:
    otherwise films of one patient get into different splits."""


class ColumnSettings(Settings):
    """CSV files and columns for ``layout=table``. Paths are relative to the archive, or absolute."""

    films: Path | None = None
    """CSV table with one row per film."""
    file: str = "path"
    """Column of both tables that identifies the film: a path or its end, with or without the ending of the file."""
    box_file: str | None = None
    """Column of the table of boxes that identifies the film, where it is not ``file``."""
    facts: dict[Literal["patient", "study", "body_part", "view", "laterality", "sex", "age", "split"], str] = Field(
        default_factory=dict
    )
    """Fact → column. Splits are train, val, test, or train_val (val is drawn from it)."""
    same: dict[Literal["body_part", "view", "laterality"], str] = Field(default_factory=dict)
    """Fact → value of all films, such as {body_part: CHEST}."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Column → label: 1, yes, present … or 0, no, absent … or -1, uncertain; an empty cell gives no label."""
    numbers: dict[str, str] = Field(default_factory=dict)
    """Column → label whose value is a number."""
    names: str | None = None
    """Column with the names of all findings of a film, separated by ``|``."""
    vocabulary: list[str] = Field(default_factory=list)
    """All names that can occur in ``names``; those that a cell does not list are absent."""
    none_name: str | None = None
    """Cell of ``names`` of a film that has none of the findings, such as none; an empty text if that cell is empty. By
    default an empty cell gives no labels."""
    boxes: Path | None = None
    """CSV table with one row per box."""
    box_label: str = "label"
    """Column with the name of the finding."""
    box: list[str] = Field(default=["x_min", "y_min", "x_max", "y_max"], min_length=4, max_length=4)
    """Four columns of numbers that give a box; ``box_form`` states what they mean."""
    box_form: Literal["corners", "corner_and_size", "centre_and_size"] = "corners"
    """Meaning of the four columns, in pixels: left, top, right, bottom; left, top, width, height; or centre x and y,
    width, height."""
    absent_without_box: list[str] = Field(default_factory=list)
    """Labels that are absent on each film of the tables without a box of the label."""
    reader: str | None = None
    """Column with the name of the reader of the box."""

    @model_validator(mode="after")
    def _names_need_a_vocabulary(self) -> Self:
        if (self.names is None) != (not self.vocabulary):
            raise ValueError("names and vocabulary must be set together")
        return self
