"""Settings of the selection rules."""

from typing import Literal

from data_prep.settings import Settings

RuleAction = Literal["keep", "reject"]


class SelectionSettings(Settings):
    """Whether films are kept or rejected under each rule of ``data_prep.archive.reject_by_header``."""

    not_human: RuleAction = "reject"
    """Films of animals; keep them for a model of animals."""
    mammography: RuleAction = "reject"
    """Films of the breast."""
    intra_oral: RuleAction = "reject"
    """Films taken inside the mouth."""
    fluoroscopy: RuleAction = "reject"
    """Single pictures of a moving examination, often with text in the picture."""
    localizer: RuleAction = "reject"
    """Overviews by which a CT scanner plans its scan."""
    for_processing: RuleAction = "reject"
    """Raw detector values without a processed film of the same exposure."""
    processing_twin: RuleAction = "reject"
    """Raw detector values of an exposure whose processed film is kept."""
    burned_in_annotation: RuleAction = "reject"
    """Files that declare text in the picture; it may be a name."""
    no_exposure: RuleAction = "reject"
    """Drawings, forms and other pages that are no exposure and may show a name; Image Type names them."""
    secondary_capture: RuleAction = "reject"
    """Copies made by another program; they may show a name."""
    digitized_film: RuleAction = "reject"
    """Scanned sheets of film or paper, possibly with a label that names a person."""
    screenshot: RuleAction = "reject"
    """Pictures of a screen, often with a name."""
    photograph: RuleAction = "reject"
    """Pictures taken with a camera, of a light box or a screen."""
    empty_exposure: RuleAction = "reject"
    """Exposures without a patient, such as a detector test."""

    @property
    def off(self) -> set[str]:
        """Newer rules at their default; the record of a folder leaves them out, so that earlier ones stay the same."""
        return {rule for rule in ("not_human", "no_exposure") if self.rejects(rule)}

    def rejects(self, rule: str) -> bool:
        """Whether films under ``rule`` are rejected."""
        return bool(getattr(self, rule) == "reject")
