"""Exit codes of the commands, and the share of rejected radiographs that one of them stands for."""

import sys

from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import DROPPED, Reason
from data_prep.shard_format.dataset_card import DatasetCard

BAD_INPUT, TOO_MANY_REJECTS, PROBLEMS_FOUND, UNFORESEEN, INTERRUPTED = 2, 3, 1, 1, 130

_NO_RADIOGRAPHS = {Reason.NOT_A_FILM, Reason.NOT_A_RADIOGRAPH, Reason.DOCUMENT, Reason.NO_PIXELS}

_BY_CHOICE = (_NO_RADIOGRAPHS | {Reason(rule) for rule in SelectionSettings.model_fields}) - DROPPED
"""Not expected among the films, or left out by the settings: ``max_reject_fraction`` does not count them."""


def exit_code_of(card: DatasetCard, max_reject_fraction: float) -> int:
    """Show what became of all files; exit code by how many radiographs were rejected."""
    print(card)
    fraction = reject_fraction(card)
    if fraction <= max_reject_fraction:
        return 0
    print(
        f"error: {fraction:.1%} of the radiograph files were rejected, more than runtime.max_reject_fraction"
        f" ({max_reject_fraction:.1%}); the shards are complete, the reasons are in rejects.parquet",
        file=sys.stderr,
    )
    return TOO_MANY_REJECTS


def reject_fraction(card: DatasetCard) -> float:
    """Rejected part of the files that by their header are radiographs; duplicates are dropped, not rejected."""
    no_radiographs = sum(count for reason, count in card.reasons.items() if reason in _BY_CHOICE)
    radiographs = card.files.written + card.files.rejected + card.files.dropped - no_radiographs
    return (card.files.rejected - no_radiographs) / radiographs if radiographs else 0.0
