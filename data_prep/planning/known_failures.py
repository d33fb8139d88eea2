"""What runs have learnt of single files, kept with the public folder: rows of the manifest and reasons only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data_prep.errors import Reason

Verdicts = Mapping[int, Reason]
"""Row of the manifest → why the file is no film."""


@dataclass(frozen=True)
class History:
    """Belongs to one plan: the rows of another manifest are other files.

    Attributes:
        plan_sha256: the plan.
        quarantined: files that are not tried (again), since they have killed or stopped their decoder, or since
            ``append`` is limited to other reasons.
        reasons: to which ``append`` is limited; empty: it is not. Kept until the folder is complete.
    """

    plan_sha256: str = ""
    quarantined: Verdicts = field(default_factory=dict)
    reasons: Sequence[Reason] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "History":
        """From the content of ``dataset.json`` or of what :meth:`values` returned.

        Raises:
            TypeError, ValueError: the values are damaged.
        """
        quarantined = {int(row): Reason(reason) for row, reason in values.get("quarantined", ())}
        return cls(str(values.get("plan_sha256", "")), quarantined, tuple(map(Reason, values.get("reasons", ()))))

    def values(self) -> dict[str, Any]:
        """As it stands in the file that marks an unfinished folder."""
        return {"plan_sha256": self.plan_sha256, "quarantined": self.pairs(), "reasons": list(self.reasons)}

    def pairs(self) -> list[tuple[int, str]]:
        """``quarantined`` in order of the rows."""
        return [(row, reason.value) for row, reason in sorted(self.quarantined.items())]

    def quarantine(self, verdicts: Verdicts) -> "History":
        """With more files that are not tried again."""
        return replace(self, quarantined={**self.quarantined, **verdicts})
