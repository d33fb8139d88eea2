"""Which rules of ``data_prep.archive.reject_rules`` keep a film and which reject it."""

from typing import Literal

from data_prep.settings import Settings

Verdict = Literal["keep", "reject"]


class SelectionSettings(Settings):
    """What becomes of films under each rule; ``data_prep.archive.reject_rules`` says what the rules are."""

    mammography: Verdict = "reject"
    intra_oral: Verdict = "reject"
    fluoroscopy: Verdict = "reject"
    localizer: Verdict = "reject"
    for_processing: Verdict = "reject"
    processing_twin: Verdict = "reject"
    burned_in_annotation: Verdict = "reject"
    secondary_capture: Verdict = "reject"
    digitized_film: Verdict = "reject"
    screenshot: Verdict = "reject"
    photograph: Verdict = "reject"
    empty_exposure: Verdict = "reject"

    def rejects(self, rule: str) -> bool:
        """Whether films under ``rule`` are left out."""
        return bool(getattr(self, rule) == "reject")
