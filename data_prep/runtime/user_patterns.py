"""Regular expressions that users give: a search has a time limit, which those of the standard library cannot have."""

import regex

from data_prep.errors import SettingsError

_MAX_SECONDS = 2.0
"""Longest time to compare one text with a pattern."""


def search(pattern: str, text: str, *, setting: str, whole: bool = False) -> "regex.Match[str] | None":
    """Search a text for a pattern.

    Args:
        pattern: regular expression.
        text: name or path.
        setting: that gives the pattern, for the message.
        whole: whether the pattern must describe the whole text.

    Returns:
        The match; None without one.

    Raises:
        SettingsError: it takes too long.
    """
    compare = regex.fullmatch if whole else regex.search
    try:
        return compare(pattern, text, timeout=_MAX_SECONDS)
    except TimeoutError:
        raise SettingsError(
            f"{setting} took more than {_MAX_SECONDS:g} s for one name; make it simpler, without a repetition inside a"
            " repetition"
        ) from None
