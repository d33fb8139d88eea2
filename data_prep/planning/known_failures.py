"""Files that are known to fail, recorded in the public folder as rows of the manifest and reasons, without names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data_prep.errors import Reason

RowReasons = Mapping[int, Reason]
"""Row of the manifest → why its file is no film."""

_REASONS = "append_reasons"
"""Key of ``reasons`` in the file of an unfinished folder; ``reasons`` of ``dataset.json`` are counts."""


@dataclass(frozen=True)
class KnownFailures:
    """Files of one plan that are not tried; in another manifest the same rows are other files.

    Attributes:
        plan_sha256: of the plan.
        quarantined: files that are not tried, since they crashed or blocked their decoder in an earlier run, or since
            ``append --reason`` leaves them out.
        reasons: the only reasons that ``append`` retries; empty: all, or not recorded, as in a complete folder.
    """

    plan_sha256: str = ""
    quarantined: RowReasons = field(default_factory=dict)
    reasons: Sequence[Reason] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "KnownFailures":
        """Read from the content of ``dataset.json``, or from what :meth:`values` returns.

        Raises:
            TypeError, ValueError: the values are damaged.
        """
        quarantined = {int(row): Reason(reason) for row, reason in values.get("quarantined", ())}
        return cls(str(values.get("plan_sha256", "")), quarantined, tuple(map(Reason, values.get(_REASONS, ()))))

    def values(self) -> dict[str, Any]:
        """Content for the file that marks an unfinished folder."""
        return {"plan_sha256": self.plan_sha256, "quarantined": self.pairs(), _REASONS: list(self.reasons)}

    def pairs(self) -> list[tuple[int, str]]:
        """``quarantined`` as (row, reason), in order of the rows."""
        return [(row, reason.value) for row, reason in sorted(self.quarantined.items())]

    def add(self, failures: RowReasons) -> "KnownFailures":
        """Return a copy with more files that are not tried again."""
        return replace(self, quarantined={**self.quarantined, **failures})
