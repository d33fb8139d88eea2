"""Remove paths, addresses and accounts from the settings of a run before they are sent to a tracking store."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath


def public_values(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings, and reduce paths and addresses to their last component.

    Args:
        settings: nested settings.
        prefix: prefix of the flat names.

    Returns:
        ``group.key`` → text.
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= public_values(value, f"{name}.")
        else:
            flat[name] = public_value(value)
    return flat


def public_value(value: object) -> str:
    """Convert a value to text; of an absolute path, a ``Path`` or an address with ``://`` only the last component."""
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, str):
        return _last_component(value) if _is_path_or_address(value) else value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {public_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ", ".join(public_value(inner) for inner in value) + "]"
    return str(value)


def _is_path_or_address(text: str) -> bool:
    return (
        "://" in text
        or text.startswith(("~", "file:"))
        or PurePosixPath(text).is_absolute()
        or PureWindowsPath(text).is_absolute()
    )


def _last_component(text: str) -> str:
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return last.rpartition("@")[2]  # an address may contain an account
