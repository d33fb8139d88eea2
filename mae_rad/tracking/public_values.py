"""What of a run's settings may stand in a tracking store that other people read: no paths, addresses or accounts."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath


def public_values(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings → flat ``group.key`` → text, with every path and address reduced to its last component."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= public_values(value, f"{name}.")
        else:
            flat[name] = public_value(value)
    return flat


def public_value(value: object) -> str:
    """One value as text; an absolute path, a ``Path`` or an address with ``://`` keeps only its last component."""
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, str):
        return _last_component(value) if _names_a_place(value) else value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {public_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ", ".join(public_value(inner) for inner in value) + "]"
    return str(value)


def _names_a_place(text: str) -> bool:
    return (
        "://" in text
        or text.startswith(("~", "file:"))
        or PurePosixPath(text).is_absolute()
        or PureWindowsPath(text).is_absolute()
    )


def _last_component(text: str) -> str:
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return last.rpartition("@")[2]  # an address may carry an account
