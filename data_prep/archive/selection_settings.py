"""Settings of the selection rules."""

from typing import Literal

from data_prep.settings import Settings

RuleAction = Literal["keep", "reject"]


class SelectionSettings(Settings):
    """Whether films are kept or rejected under each rule of ``data_prep.archive.reject_by_header``."""

    mammography: RuleAction = "reject"
    """Mammograms (SOP class, PS3.4 B.5)."""
    intra_oral: RuleAction = "reject"
    """Dental films taken in the mouth (SOP class, PS3.4 B.5)."""
    fluoroscopy: RuleAction = "reject"
    """Single frames of XA and RF objects: spot films, often with text of the workstation."""
    localizer: RuleAction = "reject"
    """Image Type LOCALIZER or SCOUT, including those of CT."""
    for_processing: RuleAction = "reject"
    """Raw detector data, without processing for display."""
    processing_twin: RuleAction = "reject"
    """Raw data of an exposure whose film for presentation is kept; counts as dropped, not as rejected."""
    burned_in_annotation: RuleAction = "reject"
    """Burned In Annotation YES. With the four rules below, the quarantine: pixels of these films can show a name."""
    secondary_capture: RuleAction = "reject"
    """SOP class, media class or equipment of a secondary capture (PS3.3 C.8.6.1)."""
    digitized_film: RuleAction = "reject"
    """A scanned sheet, including the text of its label."""
    screenshot: RuleAction = "reject"
    """Image Type, Conversion Type or software of a screenshot, or an image file with the size of a screen."""
    photograph: RuleAction = "reject"
    """An image file with camera settings in EXIF: photograph of a sheet on a light box, or of a screen."""
    empty_exposure: RuleAction = "reject"
    """Pixels that show only air."""

    def rejects(self, rule: str) -> bool:
        """Whether films under ``rule`` are rejected."""
        return bool(getattr(self, rule) == "reject")
