"""Exit codes of the commands, and the fraction of rejected radiographs behind TOO_MANY_REJECTS.

| code | name | meaning |
|---|---|---|
| 0 | | success |
| 1 | PROBLEMS_FOUND | verify or audit found problems |
| 1 | UNEXPECTED_ERROR | an error that is not a UserError |
| 2 | BAD_INPUT | an error that the user can correct |
| 3 | TOO_MANY_REJECTS | more radiographs were rejected than runtime.max_reject_fraction |
| 130 | INTERRUPTED | Ctrl-C |
"""

import sys

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import DROP_REASONS, Reason
from data_prep.shard_format.dataset_card import DatasetCard

BAD_INPUT, TOO_MANY_REJECTS, PROBLEMS_FOUND, UNEXPECTED_ERROR, INTERRUPTED = 2, 3, 1, 1, 130

_NO_RADIOGRAPH = {Reason.NOT_A_FILM, Reason.NOT_A_RADIOGRAPH, Reason.DOCUMENT, Reason.NO_PIXELS}

_NOT_COUNTED = (_NO_RADIOGRAPH | {Reason(rule) for rule in SelectionSettings.model_fields}) - DROP_REASONS
"""Reasons of files that are no radiographs or that the settings exclude: ``max_reject_fraction`` ignores them."""


def report_outcome(card: DatasetCard, max_reject_fraction: float) -> int:
    """Print the counts of all files.

    Args:
        card: counts of the run.
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
    """Fraction, 0 to 1, of rejected files among the files that are radiographs by their header, without duplicates."""
    no_radiographs = sum(count for reason, count in card.reasons.items() if reason in _NOT_COUNTED)
    radiographs = card.files.written + card.files.rejected + card.files.dropped - no_radiographs
    return (card.files.rejected - no_radiographs) / radiographs if radiographs else 0.0
