"""The command line: one line per user error, overrides at any position, and exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import data_prep
from data_prep.archive.manifest import read_manifest
from data_prep.cli.exit_codes import reject_fraction
from data_prep.cli.main import main
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from tests.builders.dicom_builder import write_film

COMMANDS = ("phantom", "scan", "shard", "append", "verify", "audit", "borders", "census", "report", "preview", "label")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


def test_scan_runs_as_a_module_with_spawned_workers(tmp_path: Path) -> None:
    for number in range(130):  # more than one chunk
        write_film(tmp_path / "archive" / f"film{number}", patient_id=f"P{number}")
    private = tmp_path / "private"
    command = [sys.executable, "-m", "data_prep", "scan", tmp_path / "archive", "--out", private, "workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(data_prep.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["files", "130"]), done.stderr
    assert "scan: 130/130 files" in done.stderr
    assert read_manifest(private).num_rows == 130


@pytest.mark.parametrize(
    "order", ["{archive} --out {out} workers=1 source=N", "workers=1 {archive} source=N --out {out}"]
)
def test_overrides_are_accepted_at_any_position(order: str, tmp_path: Path) -> None:
    write_film(tmp_path / "archive" / "film")
    config = tmp_path / "scan.yaml"
    config.write_text("source: M\n")
    arguments = order.format(archive=tmp_path / "archive", out=tmp_path / "private").split()
    keys = []
    for command in (
        ["scan", *arguments],
        ["scan", "--config", str(config), *arguments],
        ["scan", *arguments, "source=M"],
    ):
        assert main(command) == 0
        keys.append(read_manifest(tmp_path / "private")["patient"].to_pylist())
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "{tmp}/absent", "--out", "{tmp}/p"], "absent does not exist"),
        (["scan", "workers=1", "--out", "{tmp}/p"], "no archive is given"),
        (["scan", "{tmp}", "--out", "{tmp}/p"], "lies inside"),
        (["scan", "{tmp}", "--out", "{tmp}/p", "wrkers=1"], "did you mean 'workers'"),
        (["scan", "{tmp}", "--out", "{tmp}/p", "--config", "{tmp}/absent.yaml"], "absent.yaml does not exist"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=tmp_path) for word in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and message in printed.err
    assert printed.err.count("\n") == 1


def test_no_secret_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAE_RAD_KEY")
    write_film(tmp_path / "archive" / "film")
    assert main(["scan", str(tmp_path / "archive"), "--out", str(tmp_path / "private")]) == 2
    assert "openssl rand -hex 32" in capsys.readouterr().err
    assert not (tmp_path / "private").exists()


def test_an_interruption_is_exit_code_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.scan.scan.scan", interrupted)
    assert main(["scan", str(tmp_path), "--out", str(tmp_path / "private")]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["verify", "x", "workers=1"], ["scan", "a", "--out", "p", "--wrokers"], [], ["scn"]]
)
def test_unknown_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == 0
        assert command in capsys.readouterr().out


def card(written: int, rejected: int, dropped: int, reasons: dict[str, int]) -> DatasetCard:
    return DatasetCard(
        format_version=FORMAT_VERSION,
        dataset_sha256="",
        config={},
        config_sha256="",
        key_fingerprint="",
        files=FileCounts(written=written, rejected=rejected, dropped=dropped),
        reasons=reasons,
        films={},
        patients={},
        shards={},
        deidentification={},
    )


def test_only_rejected_radiographs_count_towards_the_limit() -> None:
    reasons = {"not_a_film": 50, "not_a_radiograph": 20, "corrupt_pixels": 3, "duplicate": 7}
    assert reject_fraction(card(90, 73, 7, reasons)) == pytest.approx(3 / 100)
    assert reject_fraction(card(0, 50, 0, {"not_a_film": 50})) == 0


def test_an_unexpected_error_quotes_no_value_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("MUSTER^MARIA")

    import data_prep.verification.verify_published  # noqa: F401 - it would keep the function that fails

    monkeypatch.setattr("data_prep.shard_format.appended_folders.generation_folders", fail)
    assert main(["verify", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert "MUSTER" not in printed
    assert "unexpected ValueError" in printed
