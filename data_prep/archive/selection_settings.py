"""Settings of the selection rules."""

from typing import Literal

from data_prep.settings import Settings

RuleAction = Literal["keep", "reject"]


class SelectionSettings(Settings):
    """Whether films are kept or rejected under each rule of ``data_prep.archive.reject_by_header``."""

    mammography: RuleAction = "reject"
    intra_oral: RuleAction = "reject"
    fluoroscopy: RuleAction = "reject"
    localizer: RuleAction = "reject"
    for_processing: RuleAction = "reject"
    processing_twin: RuleAction = "reject"
    burned_in_annotation: RuleAction = "reject"
    secondary_capture: RuleAction = "reject"
    digitized_film: RuleAction = "reject"
    screenshot: RuleAction = "reject"
    photograph: RuleAction = "reject"
    empty_exposure: RuleAction = "reject"

    def rejects(self, rule: str) -> bool:
        """Whether films under ``rule`` are rejected."""
        return bool(getattr(self, rule) == "reject")
