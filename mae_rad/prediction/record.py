"""The prediction for one film, a line of ``predictions.jsonl``; private, as it names the file."""

from typing import Literal

from data_prep.settings import Settings

Status = Literal["answered", "out_of_scope", "no_film"]
"""Whether there is a prediction, or why not: the film is out of scope, or the file holds no readable radiograph."""


DEFAULT_THRESHOLD = 0.5
"""Threshold on the score of a label without operating points."""


class Finding(Settings):
    """Prediction of one label for a film.

    Attributes:
        label: name.
        score: calibrated probability; of a detection, the highest score of a box.
        reached: operating point → whether the score reaches its threshold.
    """

    label: str
    score: float
    reached: dict[str, bool]

    @property
    def found(self) -> bool:
        """Whether the score reaches any operating point, or the default threshold where there is none."""
        return any(self.reached.values()) if self.reached else self.score >= DEFAULT_THRESHOLD


class FoundBox(Finding):
    """A predicted box in pixels of the source raster: x to the right, y down, origin at the upper left corner."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class PredictedNumber(Settings):
    """Predicted number of a film. How far the truth may be away is not predicted: see the errors on the model card.

    Attributes:
        label: name.
        value: in the unit.
        unit: of the number; empty if it has none.
    """

    label: str
    value: float
    unit: str = ""


class PredictedClass(Settings):
    """Predicted class of a film, of several that exclude each other.

    Attributes:
        label: name of the question.
        predicted: the most probable class.
        probabilities: class → probability; their sum is 1.
        column: index column whose values the classes are, such as body_part; empty for labels.
    """

    label: str
    predicted: str
    probabilities: dict[str, float]
    column: str = ""


class Record(Settings):
    """Prediction for one film, or the reason why a file has none.

    Attributes:
        number: of the file in the output folder; names of pictures and reports begin with it.
        path: of the file.
        size: of the file in bytes.
        changed: modification time of the file in ns; a file that has changed is predicted again.
        frame: number of the frame in a multi-frame file, from 1; None for a file with one film.
        frames: number of films in the file.
        status: whether there is a prediction.
        reason: why there is none; with a prediction, why the film is out of scope.
        warnings: of which answers the model's test films do not show that they are better than chance, and why.
        body_part: from the file, or as given by the user.
        view: from the file, or as given by the user.
        laterality: from the file.
        rows: of the source raster, in pixels.
        columns: of the source raster, in pixels.
        findings: in the order of the model's labels.
        boxes: of a detection, in descending order of the score.
        numbers: of a regression, in the order of the model's numbers.
        classes: of a model of classes that exclude each other, one answer.
        overlay: name of the picture in ``overlays``.
        report: name of the Structured Report in ``reports``.
        no_report: class of the error because of which there is no report.
        state: name of the presentation state in ``presentation_states``.
        no_state: class of the error because of which there is no presentation state.
    """

    number: int
    path: str
    size: int
    changed: int
    frame: int | None = None
    frames: int = 1
    status: Status
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    rows: int | None = None
    columns: int | None = None
    findings: tuple[Finding, ...] = ()
    boxes: tuple[FoundBox, ...] = ()
    numbers: tuple[PredictedNumber, ...] = ()
    classes: tuple[PredictedClass, ...] = ()
    overlay: str | None = None
    report: str | None = None
    no_report: str | None = None
    state: str | None = None
    no_state: str | None = None

    @property
    def name(self) -> str:
        """Stem of the output files of this film, made of numbers alone: nothing of a header or path enters it."""
        return f"{self.number:06d}" + (f"-{self.frame:02d}" if self.frame else "")

    @property
    def found(self) -> bool:
        """Whether any label counts as found."""
        return any(finding.found for finding in self.findings)
