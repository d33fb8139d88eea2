"""The help of a command lists every setting with its meaning, in 100 columns; so does the schema that editors read."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.cli.parser import SETTINGS as DATA_PREP
from data_prep.settings import Settings
from data_prep.settings_schema import json_schema, list_settings
from mae_rad.cli import completion, schema
from mae_rad.cli.command_parser import SETTINGS
from mae_rad.cli.main import COMMANDS, main
from mae_rad.objectives import OBJECTIVES
from tests.builders.without_training import without_training
from tests.mae_rad.cli.test_main import DATA_PREP as DATA_PREP_COMMANDS

ROOT = Path(__file__).resolve().parents[3]
WITH_SETTINGS = (*SETTINGS, *DATA_PREP, "sweep", "cost", "embed", "predict", "export", "compare-heads", "append",
                 "suspects", "corrections")  # fmt: skip


def _help(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main([command, "--help"])
    assert raised.value.code == 0
    return capsys.readouterr().out


def _model(command: str) -> type[Settings]:
    module, _, name = (DATA_PREP | SETTINGS)[command].partition(":")
    model: type[Settings] = getattr(import_module(module), name)
    return model


@pytest.mark.parametrize("command", [*COMMANDS, *DATA_PREP_COMMANDS])
def test_help_is_readable_in_100_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    text = _help(command, capsys)
    assert max(map(len, text.splitlines())) <= 100
    assert "``" not in text
    assert ("settings, as key=value" in text) == (command in {*WITH_SETTINGS, "bench-codecs"})


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_every_setting_has_a_type_a_default_and_a_meaning(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _help(command, capsys).partition("settings, as key=value")[2].splitlines()[1:]
    heads = [number for number, line in enumerate(lines) if re.match(r" {4}\S", line)]
    assert heads
    text = "\n".join(lines)
    names = re.findall(r"^ {4}([\w.\[\]]+): ", text, flags=re.MULTILINE)
    assert len(names) == len(heads)
    for first, last in zip(heads, [*heads[1:], len(lines)], strict=True):
        entry = " ".join(line.strip() for line in lines[first:last])
        assert re.match(r"\S+: \S.*; (default|required)", entry), entry
        assert len(re.split(r"; (?:default .*?|required)(?= [A-Z(0-9])", entry, maxsplit=1)[-1]) > 5, entry
        assert all(line.startswith(" " * 8) for line in lines[first + 1 : first + 2]), f"no meaning: {entry}"


def test_settings_are_listed_with_their_ranges() -> None:
    text = list_settings(_model("pretrain"))
    for line in (
        "    optimizer.warmup_fraction: number ≥ 0 and < 1; default 0.05",
        "    optimizer.steps: whole number ≥ 1; required",
        "    precision: auto | f32 | bf16; default bf16",
        "    data.shards: path or list of paths; required",
        "    objective.schedule[].until: number > 0 and < 1; required",
        "  objective.* with objective.name=mae: Settings of the masked autoencoder; all change results.",
    ):
        assert line in text.splitlines()


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in {"where", "weights", "edges"}:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "pretrain").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_list_holds_the_settings_of_every_shipped_config(path: Path) -> None:
    listed = list_settings(_model("pretrain"))
    for name in _leaves(yaml.safe_load(path.read_text())):
        assert f"    {name}: " in listed, name


def test_without_torch_the_help_says_where_the_settings_are(tmp_path: Path) -> None:
    environment = without_training(tmp_path / "environment", ROOT)
    for command, text in (("pretrain", "pip install 'mae_rad[train]'"), ("shard", "films_per_shard: ")):
        words = [sys.executable, "-m", "mae_rad", command, "--help"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert text in done.stdout


@pytest.mark.parametrize("command", [*SETTINGS, *DATA_PREP])
def test_a_schema_names_every_setting_and_requires_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([command]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json_schema(_model(command))
    assert set(printed["properties"]) == set(_model(command).model_fields)
    assert printed["additionalProperties"] is False
    assert "required" not in printed
    assert all("required" not in definition for definition in printed["$defs"].values())


def test_a_schema_has_the_settings_of_every_objective() -> None:
    objectives = json_schema(_model("pretrain"))["properties"]["objective"]["anyOf"]
    assert [one["properties"]["name"]["const"] for one in objectives] == list(OBJECTIVES)
    assert "temperature" in objectives[1]["properties"]


def _completions(line: str) -> set[str]:
    environment = os.environ | {
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout", "_ARGCOMPLETE_IFS": "\n",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "mae_rad"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return {word.strip() for word in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mae-rad comp", {"compare", "compare-heads", "completion"}),
        (
            "mae-rad pretrain --config small",
            {"small_cpu", *(f"small_cpu_{name}" for name in OBJECTIVES if name != "mae")},
        ),
        ("mae-rad export --to hf", {"hf_vit", "hf_vit_mae"}),
        ("mae-rad shard --dr", {"--dry-run"}),
    ],
)
def test_a_shell_completes(line: str, words: set[str]) -> None:
    assert _completions(line) == words


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_lines_for_a_shell_name_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main([shell]) == 0
    assert "mae-rad" in capsys.readouterr().out
