"""Exit codes of the commands, and the check that not too many radiographs were rejected.

| code | name | meaning |
|---|---|---|
| 0 | | success |
| 1 | PROBLEMS_FOUND | verify or audit found problems |
| 1 | UNEXPECTED_ERROR | an error that is not a UserError |
| 2 | BAD_INPUT | an error that the user can correct |
| 3 | TOO_MANY_REJECTS | the fraction of rejected radiographs exceeds runtime.max_reject_fraction |
| 130 | INTERRUPTED | Ctrl-C |
"""

import sys

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import DROP_REASONS, Reason
from data_prep.shard_format.dataset_card import DatasetCard

PROBLEMS_FOUND = 1
UNEXPECTED_ERROR = 1
BAD_INPUT = 2
TOO_MANY_REJECTS = 3
INTERRUPTED = 130

_NOT_A_RADIOGRAPH = {
    Reason.NOT_A_FILM,
    Reason.HIDDEN,
    Reason.WITHDRAWN,
    Reason.NOT_A_RADIOGRAPH,
    Reason.DOCUMENT,
    Reason.NO_PIXELS,
}

_EXCLUDED_REASONS = (_NOT_A_RADIOGRAPH | {Reason(rule) for rule in SelectionSettings.model_fields}) - DROP_REASONS
"""Reasons that do not count for ``max_reject_fraction``: no radiograph, or excluded by ``selection`` settings."""


def report_outcome(card: DatasetCard, max_reject_fraction: float) -> int:
    """Print the counts of a run, and return its exit code; print an error if too many radiographs were rejected.

    Args:
        card: dataset card of the run.
        max_reject_fraction: largest accepted fraction of rejected radiographs, 0 to 1.

    Returns:
        0, or TOO_MANY_REJECTS.
    """
    print(card)
    fraction = reject_fraction(card)
    if fraction <= max_reject_fraction:
        return 0
    print(
        f"error: {fraction:.1%} of the radiograph files were rejected, more than runtime.max_reject_fraction"
        f" ({max_reject_fraction:.1%}). The shards are complete; see the reasons in rejects.parquet.",
        file=sys.stderr,
    )
    return TOO_MANY_REJECTS


def reject_fraction(card: DatasetCard) -> float:
    """Return the fraction, 0 to 1, of radiographs that were rejected.

    Radiographs are the files that are radiographs by their header and that the ``selection`` settings do not exclude;
    a duplicate counts as a radiograph that was not rejected.
    """
    excluded = sum(count for reason, count in card.reasons.items() if reason in _EXCLUDED_REASONS)
    radiographs = card.files.written + card.files.rejected + card.files.dropped - excluded
    return (card.files.rejected - excluded) / radiographs if radiographs else 0.0
