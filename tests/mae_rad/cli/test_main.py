"""``mae-rad`` has all commands, a fast --help, and works without torch where possible."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from data_prep.settings import config_file
from mae_rad.cli import bench
from mae_rad.cli.main import COMMANDS, WITHOUT_TORCH, main
from tests.builders.without_training import without_training

ROOT = Path(__file__).resolve().parents[3]
DATA_PREP = ("phantom", "scan", "shard", "append", "verify", "audit", "preview", "borders", "report", "census", "label",
             "review", "submit", "bench-codecs", "publish")  # fmt: skip
BENCHMARKS = {
    "content_mask", "report_labels", "throughput", "planted_text",
    "hidden_content", "loader", "mae_speed", "fine_detail",
    "cheaper_not_worse", "outside_check", "pointing_game", "resolution_boxes", "resolution_worth", "natural_image",
    "film_folds", "measurement_vectors", "published_films", "demo_summary", "planted_errors",
}  # fmt: skip


@pytest.mark.parametrize("command", [*COMMANDS, *DATA_PREP])
def test_every_command_is_listed_and_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as raised:
            main(words)
        assert raised.value.code == 0
        assert command in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: mae-rad {command} ")


def test_help_and_version_load_nothing_heavy() -> None:
    script = """
import sys
from mae_rad.cli.main import main
for words in (["--version"], ["bench"], ["--help"]):
    try:
        main(words)
    except SystemExit:
        pass
sys.exit(bool({"torch", "deepspeed", "mlflow", "scipy", "matplotlib", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mae_rad ")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_TORCH])
def test_files_of_launch_are_the_same_command(name: str) -> None:
    module = name.replace("-", "_")
    assert import_module(f"launch.{module}").main is import_module(f"mae_rad.cli.{module}").main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND"),
        (["scn"], "invalid choice: 'scn'"),
        (["--wrong", "pretrain"], "pretrain: unknown argument '--wrong'; see: mae-rad pretrain --help"),
        (["scan", "a", "--out", "p", "--wrong"], "scan: unknown argument '--wrong'; see: mae-rad scan --help"),
        (["bench", "speed"], "mae_speed"),
    ],
)
def test_unknown_arguments_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_exit_codes_of_data_prep_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")
    assert main(["scan", str(tmp_path / "absent"), "--out", str(tmp_path / "private")]) == 2
    assert "absent does not exist" in capsys.readouterr().err


def test_a_config_is_given_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    find = config_file("pretrain")
    assert find("mae").samefile(ROOT / "configs" / "pretrain" / "mae.yaml")
    Path("mae").write_text("seed: 1\n")
    Path("other").write_text("seed: 1\n")
    assert find("mae").samefile(ROOT / "configs" / "pretrain" / "mae.yaml")
    assert find("./mae").samefile(tmp_path / "mae")
    assert find("other").samefile(tmp_path / "other")
    assert find("folder/absent.yaml") == Path("folder/absent.yaml")  # refused when it is read


def test_an_unknown_config_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["finetune", "--config", "fractur"])
    assert raised.value.code == 2
    assert "'fractur' is neither a file nor a name of configs/finetune: bone_age, demo_" in capsys.readouterr().err


def test_bench_lists_every_benchmark_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == BENCHMARKS
    assert all(line.endswith(".") for line in lines.values())


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        bench.main([name, "--help"])
    assert raised.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: mae-rad bench {name} ")
    assert f"    mae-rad bench {name} " in printed


def test_a_benchmark_gets_its_arguments_and_its_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "report_labels", "--folder", str(tmp_path / "absent")]) == 2
    folder = tmp_path / "absent"
    assert capsys.readouterr().err == f"error: {folder} does not exist. Give the folder of the Open-i reports.\n"


def test_a_missing_torch_is_one_line_with_what_to_install(tmp_path: Path) -> None:
    environment = without_training(tmp_path / "environment", ROOT)
    for words in (
        ["pretrain"],
        ["embed", "RUN"],
        ["bench", "loader", "--shards", "x"],
        ["compare", "--config", "arms"],
    ):
        command = [sys.executable, "-m", "mae_rad", *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: this command needs the training extra: pip install 'mae_rad[train]'")
        assert done.stderr.count("\n") == 1
