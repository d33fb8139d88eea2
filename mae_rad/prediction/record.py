"""What is told of one film: a line of ``predictions.jsonl``. Private: it names the file."""

from typing import Literal

from data_prep.settings import Settings

Status = Literal["answered", "out_of_scope", "no_film"]
"""Whether there is an answer, or why not: the model has not seen such films, or the file holds no readable one."""


EVEN = 0.5
"""Score from which on a label without operating points counts as found."""


class Finding(Settings):
    """One label of a film.

    Attributes:
        label: its name.
        score: the calibrated probability; of a detection, the highest score of a box.
        reached: operating point → whether the score reaches its threshold.
    """

    label: str
    score: float
    reached: dict[str, bool]

    @property
    def found(self) -> bool:
        """Whether the score reaches any operating point."""
        return any(self.reached.values()) if self.reached else self.score >= EVEN


class FoundBox(Finding):
    """One box of a detection, in pixels of the source raster: x to the right, y down, 0 at the upper left edge."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Record(Settings):
    """One film, or a file that holds none.

    Attributes:
        number: of the file in this folder; names of pictures and reports begin with it.
        path: of the file.
        size: of the file in bytes, and ``changed``, when it was changed last: another one is asked anew.
        frame: of a file with several, which one, from 1.
        frames: how many films the file holds.
        status: whether there is an answer.
        reason: why not; of an answer, why it is doubtful.
        body_part: by the file, or as the user said.
        rows: of the source raster.
        findings: in the order of the model's labels.
        boxes: of a detection, the highest score first.
        overlay: name of the picture in ``overlays``.
        report: name of the Structured Report in ``reports``.
        no_report: error because of which there is none.
    """

    number: int
    path: str
    size: int
    changed: int
    frame: int | None = None
    frames: int = 1
    status: Status
    reason: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    rows: int | None = None
    columns: int | None = None
    findings: tuple[Finding, ...] = ()
    boxes: tuple[FoundBox, ...] = ()
    overlay: str | None = None
    report: str | None = None
    no_report: str | None = None

    @property
    def name(self) -> str:
        """What files of this film are called: never by anything that a header or a path says."""
        return f"{self.number:06d}" + (f"-{self.frame:02d}" if self.frame else "")

    @property
    def found(self) -> bool:
        """Whether anything was found."""
        return any(finding.found for finding in self.findings)
