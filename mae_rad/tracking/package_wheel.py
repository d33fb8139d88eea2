"""Write the installed project as a wheel, which travels in the folder of a registered model.

A model is thus served by the code that trained it, also where the project comes from no package index. The archive
follows the binary distribution format (PEP 427) and has the same bytes for the same code.
"""

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "mae_rad"
_PACKAGES = ("data_prep", "mae_rad")
_METADATA = {"METADATA": ("METADATA", "PKG-INFO"), "entry_points.txt": ("entry_points.txt",)}
"""File in the wheel → its names in an installed project and in a checkout."""
_DATA = ("py.typed", "concepts.csv", "words.yaml")
_WHEEL = "Wheel-Version: 1.0\nGenerator: mae_rad\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)


def write_wheel(folder: Path) -> Path:
    """Write the wheel of the running code.

    Args:
        folder: existing folder to write to.

    Returns:
        Path of the wheel, named by project and version.
    """
    name = f"{DISTRIBUTION}-{version(DISTRIBUTION)}"
    information = f"{name}.dist-info"
    files = dict(_package_files())
    for entry, names in _METADATA.items():
        texts = (distribution(DISTRIBUTION).read_text(name) for name in names)
        if text := next(filter(None, texts), None):
            files[f"{information}/{entry}"] = text.encode()
    files[f"{information}/WHEEL"] = _WHEEL.encode()
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    files[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n".encode()
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, _DATE), content, zipfile.ZIP_DEFLATED)
    return wheel


def _package_files() -> Iterator[tuple[str, bytes]]:
    """Path in the wheel and contents of every file of the packages, sorted by path."""
    for package in _PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations
        root = Path(spec.submodule_search_locations[0])
        paths = [
            Path(folder) / name
            for folder, _, names in os.walk(root)  # without configs, a link in a checkout: they are not needed to serve
            for name in names
            if _is_code(Path(folder) / name)
        ]
        for path in sorted(paths):
            yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _is_code(path: Path) -> bool:
    """Whether a file belongs to the code: files that a user has put beside it stay out."""
    return path.suffix == ".py" or path.parent.name in ("words", "templates") or path.name in _DATA


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
