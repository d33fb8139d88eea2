"""What can be said of the images without building them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_have_a_pinned_base_and_no_root(path: Path) -> None:
    text = path.read_text()
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)
    (user,) = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert int(user) >= 1000
    assert text.index("USER") < text.index("ENTRYPOINT")
    assert "not built, for lack of a container engine" in text.lower().replace("\n# ", " ").replace("  ", " ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_copy_what_there_is_and_what_they_may(path: Path) -> None:
    allowed = (path.parent / f"{path.name}.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", path.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}" in allowed
    assert allowed[1] == "*"


def test_the_image_for_patient_data_has_no_torch() -> None:
    text = (ROOT / "docker" / "data_prep.Dockerfile").read_text()
    assert "[train]" not in text
    assert "find_spec('torch') is not None" in text
