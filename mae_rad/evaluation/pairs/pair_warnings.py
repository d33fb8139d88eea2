"""Plain warnings about a strategy, with the thresholds that lead to them."""

import math

from mae_rad.evaluation.pairs.pair_statistics import PairStatistics
from mae_rad.pairing.column_relations import IgnoreSame, SameIdentity
from mae_rad.pairing.finding_relations import FindingConflict
from mae_rad.pairing.settings import PairSettings

SHORTCUT_AUROC = 0.6
"""From here on, the scanner tells among films of different patients which pairs pull."""
LEAST_EXCESS = 0.02
"""Below it, what pulls shares the findings no more than two random films do."""
LEAST_COVERAGE = 0.01
"""Below it, a strategy has no positives but the film itself."""
MOST_DROPPED = 0.5
"""Above it, most vectors take no part in the loss."""


def pair_warnings(pairs: PairSettings, found: PairStatistics) -> list[str]:
    """Say what speaks against a strategy before it is trained.

    Args:
        pairs: the strategy.
        found: its statistics.
    """
    said = []
    if _wants_other_films(pairs) and not found.coverage >= LEAST_COVERAGE:
        said.append(
            f"no positives: other films pull fewer than {LEAST_COVERAGE:.0%} of the vectors, so it is e0_instance"
        )
    if found.dropped > MOST_DROPPED:
        said.append(f"{found.dropped:.0%} of the vectors have nothing that pulls or pushes them and take no part")
    if found.scanner_other_patients >= SHORTCUT_AUROC:
        said.append(
            "shortcut: among films of different patients an equal scanner tells what pulls"
            f" (AUROC {found.scanner_other_patients:.2f}; {SHORTCUT_AUROC:g} and above is a shortcut)"
        )
    if found.coverage >= LEAST_COVERAGE and found.excess < LEAST_EXCESS:
        said.append(
            f"what pulls shares the findings no more than two random films do (purity above chance {found.excess:.3f};"
            f" at least {LEAST_EXCESS:g} is expected)"
        )
    if found.labels and all(one.is_circular for one in found.labels.values()):
        said.append("circular: it reads the findings by which its pairs are judged, so its purity proves nothing")
    if found.labels and math.isnan(found.excess) and found.coverage >= LEAST_COVERAGE and not said:
        said.append("its purity is not known: too few patients have what pulls and a finding that is known")
    return said


def _wants_other_films(pairs: PairSettings) -> bool:
    """Whether a strategy is to let other films pull."""
    silent = (IgnoreSame, FindingConflict)
    films = SameIdentity(of="film")
    return not pairs.partner.is_itself or any(one != films and not isinstance(one, silent) for one in pairs.relation)
