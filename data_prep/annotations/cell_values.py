"""Words of tables that say whether a finding is there, in English and German.

Case, blanks and a number before the word ("2_votesfew") make no difference.
"""

import re
import unicodedata
from collections.abc import Mapping

from data_prep.annotations.label_entries import Value

CELL_VALUES: dict[str, Value | None] = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "present", "positive"), "present"),
    **dict.fromkeys(("ja", "j", "wahr", "vorhanden", "positiv", "nachweisbar", "x", "✓", "✔"), "present"),
    **dict.fromkeys(("0", "0.0", "no", "n", "false", "absent", "negative"), "absent"),
    **dict.fromkeys(("nein", "falsch", "negativ", "nicht vorhanden", "nicht nachweisbar"), "absent"),
    **dict.fromkeys(("-1", "-1.0", "uncertain", "u", "maybe"), "uncertain"),
    **dict.fromkeys(("unsure", "unclear", "equivocal", "doubtful", "possible"), "uncertain"),
    **dict.fromkeys(
        ("unsicher", "unklar", "fraglich", "zweifelhaft", "vielleicht", "möglich", "moeglich"), "uncertain"
    ),
    **dict.fromkeys(("votesfew", "contradiction"), "uncertain"),
    **dict.fromkeys(("", "nan", "na", "n/a", "none", "null", "unknown"), None),
    **dict.fromkeys(("<na>", "n.a.", "unbekannt", "k.a.", "k. a.", "keine angabe"), None),
}
"""Word, see :func:`cell_word`, → value; None for a cell without a value."""

_NUMBERED = re.compile(r"^\d_(?=[^\W\d_])")


def cell_word(cell: str) -> str:
    """The word of a cell as CELL_VALUES has it: in lower case, with single blanks, without a number before it."""
    return _NUMBERED.sub("", " ".join(unicodedata.normalize("NFC", cell).casefold().split()), count=1)


class CellWords:
    """The known words of cells.

    Args:
        own: further words of the user → value; they replace known ones.
    """

    def __init__(self, own: Mapping[str, str | None]) -> None:
        self._values: dict[str, str | None] = {**CELL_VALUES, "not_mentioned": "not_mentioned"}
        self._values |= {cell_word(word): value for word, value in own.items()}

    def __contains__(self, cell: str) -> bool:
        """Whether the cell is a known word, or empty."""
        return cell_word(cell) in self._values

    def value(self, cell: str) -> str | None:
        """Value of a known cell: present, absent, uncertain, not_mentioned; None for a cell without a value."""
        return self._values[cell_word(cell)]
