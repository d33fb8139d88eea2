"""Addresses of public folders in object storage, and the refusal of an address where only a local path will do.

A URL must not become a ``Path``: ``Path("s3://bucket/shards")`` is a local folder of the name ``s3:``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import core_schema

from data_prep.errors import SettingsError

SCHEMES = ("s3", "gs", "https", "http", "file")
"""Kinds of storage; those of WRITABLE can also be published to. ``file`` is a folder that a web server shows."""
WRITABLE = ("s3", "gs", "file")

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/")
_HIDDEN = "?…"


@dataclass(frozen=True)
class FolderUrl:
    """A public folder in object storage, or one of its generations.

    As text it is without the query string, which may be a signature.

    Attributes:
        address: URL of the published folder, without query string and final slash.
        inside: name of the generation; empty: the folder itself.
        query: query string that is sent with every request, such as a signature that opens the whole folder.
    """

    address: str
    inside: str = ""
    query: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> "FolderUrl":
        """Read a URL.

        Raises:
            ValueError: the scheme is not of SCHEMES, the bucket or host is missing, or the URL holds a password.
        """
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise ValueError(f"{scheme}: cannot be read; use one of {', '.join(f'{name}://' for name in SCHEMES)}")
        parts = urlsplit(text)
        if "@" in parts.netloc:
            raise ValueError(
                "a URL with a user name or password is refused, since it would be logged; give credentials through the"
                " environment or the files of the storage's own tools"
            )
        if not (parts.netloc or (scheme == "file" and parts.path.strip("/"))):
            raise ValueError("the URL names no bucket or host")
        return cls(f"{scheme}://{parts.netloc}{parts.path}".rstrip("/"), query=parts.query)

    @property
    def scheme(self) -> str:
        """Kind of storage, one of SCHEMES."""
        return self.address.partition("://")[0]

    @property
    def name(self) -> str:
        """Last part of the address, or the name of the generation."""
        return self.inside or self.address.rpartition("/")[2]

    @property
    def is_complete(self) -> bool:
        """Whether the query string is there: a URL from a record, such as a run's config, has lost its own."""
        return self.query != _HIDDEN[1:]

    def generation(self, name: str) -> "FolderUrl":
        """The generation ``name`` of this folder."""
        return FolderUrl(self.address, name, self.query)

    def relative(self, name: str) -> str:
        """Name of a file of this folder or generation, relative to the published folder."""
        return f"{self.inside}/{name}" if self.inside else name

    def __str__(self) -> str:
        """The address as it may be shown and logged."""
        inside = f"/{self.inside}" if self.inside else ""
        return f"{self.address}{inside}{_HIDDEN if self.query else ''}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Schema that takes an instance or a URL, and serialises to the text that may be shown."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(str(value)),
            serialization=core_schema.to_string_ser_schema(),
        )


PublicFolder = Path | FolderUrl
"""A public folder on this machine or in object storage."""


def is_url(value: object) -> bool:
    """Whether a text, or a ``Path`` made of it, is a URL."""
    return isinstance(value, str | Path) and _URL.match(str(value)) is not None


def public_folder(text: "str | Path | FolderUrl") -> PublicFolder:
    """Read the path or URL of a public folder.

    Raises:
        SettingsError: a URL of an unknown kind, or with a password.
    """
    if isinstance(text, FolderUrl):
        return text
    if isinstance(text, str) and is_url(text):
        try:
            return FolderUrl.parse(text)
        except ValueError as error:
            raise SettingsError(f"{shown(text)}: {error}") from None
    return local_path(text)


def folder_name(folder: PublicFolder) -> str:
    """Name of a public folder, without its place."""
    return folder.name if isinstance(folder, FolderUrl) else folder.resolve().name


def local_path(text: str | Path) -> Path:
    """Read a path on this machine.

    Raises:
        SettingsError: it is a URL.
    """
    if is_url(text):
        raise SettingsError(url_problem(text))
    return Path(text)


def url_problem(text: str | Path) -> str:
    """Say why a URL is refused where only a path on this machine will do."""
    return (
        f"{shown(str(text))} is a URL, and this must be a path on this machine. Only public folders may lie elsewhere:"
        " write one here, then copy it with: mae-rad publish PUBLIC URL"
    )


def shown(text: str) -> str:
    """A text whose URLs are without user names, passwords and query strings, which may be signatures."""
    text = re.sub(r"\b([A-Za-z][A-Za-z0-9+.-]+):/+", r"\1://", text)
    text = re.sub(r"(://)[^/@\s]*@", r"\1…@", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\",\]}]+", rf"\1{_HIDDEN}", text)
