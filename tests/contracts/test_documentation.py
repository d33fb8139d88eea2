"""What README, CONTRIBUTING and docs name is there: files, commands, benchmarks, settings of ``key=value`` examples."""

import re
import shlex
from pathlib import Path

import pytest

from data_prep.cli.parser import build_parser
from data_prep.planning.settings import SubmitSettings
from data_prep.scan.settings import ScanSettings
from data_prep.settings import Settings, load
from mae_rad.cli.bench import FOLDER
from mae_rad.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "reference" / "generated"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if GENERATED not in page.parents),
]
BENCHMARKS = {path.stem for path in FOLDER.rglob("*.py")}
DATA_COMMANDS = set(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr, attr-defined, arg-type]
SETTINGS: dict[str, type[Settings]] = {"scan": ScanSettings, "shard": SubmitSettings, "submit": SubmitSettings}


def _commands(page: Path) -> list[list[str]]:
    """The commands of the page's shell blocks, as words; comments and continued lines are joined away."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(words)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:data_prep|mae_rad|launch|configs|docs|tests|docker)/[\w./-]+)`", text))
    named |= {match for words in _commands(page) for match in words if re.match(r"(launch|configs)/\S+\.\w+$", match)}
    missing = sorted(name for name in named if not (ROOT / name).exists())
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing += sorted(target for target in links if not (page.parent / target).exists())
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    for words in _commands(page):
        if words[0] == "mae-rad":
            assert words[1] in {*DATA_COMMANDS, *COMMANDS}, words
    for name in re.findall(r"mae-rad bench (\w+)", page.read_text(encoding="utf-8")):
        assert name in BENCHMARKS, name
    for name in re.findall(r"`(?:mae-rad|python -m data_prep) ([a-z-]+)", page.read_text(encoding="utf-8")):
        assert name in {*DATA_COMMANDS, *COMMANDS, "bench"}, name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_settings_of_shown_commands_are_known(page: Path) -> None:
    for words in _commands(page):
        if words[0] == "mae-rad" and words[1] in SETTINGS:
            overrides = [word for word in words[2:] if re.match(r"[a-z_.]+=", word)]
            load(SETTINGS[words[1]], None, overrides)
