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
        quarantined: files that are not tried (again), since they have killed or stopped their decoder.
        retries: of each appended generation, the files that it takes up with the earlier verdict on them.
    """

    plan_sha256: str = ""
    quarantined: Verdicts = field(default_factory=dict)
    retries: Sequence[Verdicts] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "History":
        """From what :meth:`values` has made.

        Raises:
            TypeError, ValueError: the values are damaged.
        """
        pairs = (values.get("quarantined", ()), *values.get("retries", ()))
        quarantined, *retries = ({int(row): Reason(reason) for row, reason in one} for one in pairs)
        return cls(str(values.get("plan_sha256", "")), quarantined, tuple(retries))

    def values(self) -> dict[str, Any]:
        """As it stands in the files of the public folder."""
        quarantined, *retries = (
            [[row, reason.value] for row, reason in sorted(verdicts.items())]
            for verdicts in (self.quarantined, *self.retries)
        )
        return {"plan_sha256": self.plan_sha256, "quarantined": quarantined, "retries": retries}

    def verdicts(self, generation: int) -> dict[int, Reason]:
        """What is settled before a shard of ``generation`` is written.

        A file that a later generation takes up keeps its earlier verdict, whatever a better decoder would make of it:
        otherwise a shard that is written anew would hold its film a second time.
        """
        settled = dict(self.quarantined)
        for retry in reversed(self.retries[generation:]):
            settled |= retry
        return settled

    def superseded(self, generation: int) -> set[int]:
        """Rows whose verdict of ``generation`` no longer counts, since a later one has its own."""
        return {row for retry in self.retries[generation:] for row in retry}

    def quarantine(self, verdicts: Verdicts) -> "History":
        """With more files that are not tried again."""
        return replace(self, quarantined={**self.quarantined, **verdicts})

    def retry(self, verdicts: Verdicts) -> "History":
        """With one more generation, which takes up these files."""
        quarantined = {row: reason for row, reason in self.quarantined.items() if row not in verdicts}
        return replace(self, quarantined=quarantined, retries=(*self.retries, dict(verdicts)))
