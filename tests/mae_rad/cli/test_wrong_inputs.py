"""What users get wrong: one line that says what and where, exit code 2, no traceback, nothing written."""

import re
from pathlib import Path

import pytest

from mae_rad.cli.main import COMMANDS, main
from mae_rad.objectives.mae import MAESettings
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.trained_run import train
from tests.mae_rad.cli.test_main import DATA_PREP

MAE = "pretrain --config small_cpu runtime.run_dir=new"
SEARCH = "sweep --config sex --out new data.shards=public start_from=run"
WRONG = [
    ("", "required: COMMAND"),
    ("pretran", "invalid choice: 'pretran'"),
    ("phantom new --patients few --seed 1", "--patients: invalid int value: 'few'"),
    ("phantom new --patients 2 --seed 1 --level easy", "--level: invalid choice: 'easy'"),
    ("phantom new --patients 0 --seed 1", "patients"),
    ("phantom used --patients 2 --seed 1", "used"),
    ("scan absent --out new", "absent does not exist"),
    ("scan --out new workers=2", "required: ARCHIVE|no archive is given"),
    ("scan used", "required: --out"),
    ("scan used --out new workrs=2", "unknown setting 'workrs'; did you mean 'workers'"),
    ("scan used --out new workers=many", "setting 'workers': .*integer.*got 'many'"),
    ("scan used --out new --config absent.yaml", r"config absent\.yaml does not exist"),
    ("scan used --out new --config used", "config used cannot be read"),
    ("scan used --out new --config list.yaml", r"list\.yaml is not a mapping"),
    ("scan used --out new --config broken.yaml", r"broken\.yaml is not valid YAML"),
    ("shard absent --out new", "absent"),
    ("shard used --out new", "used"),
    ("shard used --out new codec=jpeg2000", "codec.*htj2k.*got 'jpeg2000'"),
    ("append used --out absent", "absent"),
    ("append used --out public --reason rain", "--reason: invalid choice: 'rain'"),
    ("submit absent --out new", "absent"),
    ("bench-codecs absent", "absent"),
    ("label absent --out public", "absent"),
    ("label used --out public --reports absent.csv", r"absent\.csv"),
    ("review absent answers.csv", "absent"),
    ("review used", "required: ANSWERS"),
    ("verify absent", "absent"),
    ("publish absent s3://films/shards", "absent"),
    ("publish public ftp://films/shards", "ftp"),
    ("verify file.txt", r"file\.txt"),
    ("audit used", "used"),
    ("report used --out new.html", "used"),
    ("preview public --out new.png --films some", "--films: invalid int value: 'some'"),
    ("preview public --out new.png --split trian", "--split: invalid choice: 'trian'"),
    ("borders absent --out new", "absent"),
    ("borders public --out used", "used"),
    ("census absent", "absent"),
    ("pretrain", "required: --config"),
    ("pretrain --config mea", "'mea' is neither a file nor a name of configs/pretrain: .*mae, "),
    (f"{MAE} data.shards=absent", "absent"),
    (f"{MAE} data.shards=used", "used"),
    (f"{MAE} data.shards=file.txt", r"file\.txt"),
    (f"{MAE} data.shards=public", "optimizer.batch is larger than the number of training films: 128 > 4"),
    (f"{MAE} data.shards=public optimiser.steps=2", "unknown setting 'optimiser'.*; did you mean 'optimizer'"),
    (f"{MAE} data.shards=public optimizer.steps=0", "'optimizer.steps'.*greater than or equal to 1"),
    (
        f"{MAE} data.shards=public objective.name=moco",
        "objective.*name must be one of mae, simclr, simsiam, .*, not moco",
    ),
    (f"{MAE} data.shards=public steps", "'steps' is not a setting; write key=value"),
    (f"{MAE} data.shards=public --steps 4", "unrecognized arguments: --steps 4"),
    (f"{MAE} data.shards=public data.where={{body_part:KNEE}}", "where"),
    ("pretrain --config small_cpu data.shards=public optimizer.batch=4 runtime.run_dir=file.txt", "run_dir is a file"),
    ("pretrain --config small_cpu data.shards=public optimizer.batch=4 runtime.run_dir=used", "used holds other files"),
    ("pretrain --config small_cpu data.shards=public optimizer.batch=4 runtime.run_dir=new start_from=used", "used"),
    ("finetune --config sex data.shards=public runtime.run_dir=new start_from=absent", "absent"),
    ("finetune --config sex data.shards=public runtime.run_dir=new", "encoder"),
    ("finetune --config sex data.shards=public runtime.run_dir=new start_from=run task.name=guess", "guess"),
    ("sweep --config small_cpu --out new data.shards=public --arm half", "half"),
    ("sweep --config small_cpu --out new data.shards=public --over optimizer.batch", "optimizer.batch"),
    ("sweep --config small_cpu --out new data.shards=public --metric probe/knn", "Give --trials"),
    ("sweep --config small_cpu --out new data.shards=public --over seed=1,2 --side_by_side 0", "1 or more, not 0"),
    ("sweep --config small_cpu --out file.txt data.shards=public --over seed=1,2", "is a file"),
    (f"{SEARCH} --over film.flip=0,0.5 --trials 0", "--trials must be 1 or more, not 0"),
    (f"{SEARCH} --over film.flip=uniform:0:0.5", "Give --trials"),
    (f"{SEARCH} --over film.flop=0,0.5", "unknown setting 'film.flop'.*; did you mean 'film.flip'"),
    (f"{SEARCH} --over film.flip=0,2", "'film.flip'.*less than or equal to 1"),
    (f"{SEARCH} --over film.flip=0 --over film.flip=0.5", "film.flip is given twice"),
    (f"{SEARCH} --over film.flip=0,0.5 film.flip=0", "film.flip is given as a setting and as --over"),
    (f"{SEARCH} --over film.flip=0,0.5 --metric acuracy", "acuracy is not logged.*Did you mean accuracy.*macro_auroc"),
    (f"{SEARCH} --over film.flip=0,0.5 --arm half", "--arm is for arms of a pretraining"),
    ("pairs", "required: action"),
    ("pairs rank public", "invalid choice: 'rank'"),
    ("pairs stats --pairs e0_instance", "give public folders, and strategies"),
    ("pairs stats public", "give public folders, and strategies"),
    ("pairs stats absent --pairs e0_instance", "absent"),
    ("pairs stats public --pairs e99", "e99 is no readable YAML file of a strategy"),
    ("pairs stats public --pairs e0_instance", "optimizer.batch is larger than the number of training films"),
    ("pairs stats public --pairs e0_instance --passes 0", "--passes must be 1 or more, not 0"),
    ("pairs stats public --pairs e0_instance --films 3", "--films is for bench"),
    ("pairs stats public --pairs e0_instance --out file.txt", "is a file"),
    ("pairs bench e1_study", "give strategies and a folder"),
    ("pairs bench e1_study --out new data.shards=absent", "absent"),
    ("pairs bench e1_study e1_study --out new data.shards=public", "two strategies are called e1_study"),
    ("pairs bench e1_study --out new --pairs e0_instance", "--pairs is for stats"),
    ("pairs bench e1_study --out new data.shards=public --side_by_side 0", "1 or more, not 0"),
    ("pairs bench e1_study --out new data.shards=public --over seed=int:0:3", "is a range"),
    ("embed absent shards=public out=new.parquet", "absent is not an encoder folder"),
    ("embed run shards=public", "'out' is required"),
    ("embed run shards=absent out=new.parquet", "absent"),
    ("embed file.txt shards=public out=new.parquet", r"file\.txt is a file, not an encoder folder"),
    ("embed run shards=public out=new.parquet pool=median", "pool.*median"),
    ("vector absent", "absent is not an encoder folder"),
    ("vector run median", "median"),
    ("compare absent shards=public out=new", "absent"),
    ("compare shards=public out=new", "no run is given"),
    ("compare run out=new", "shard folder shards does not exist"),
    ("compare-heads run shards=public", "required: --reference"),
    ("compare-heads run --reference absent shards=public", "absent"),
    ("suspects absent shards=public out=new", "absent does not exist"),
    ("suspects run shards=public", "'out' is required"),
    ("suspects run shards=public out=new", "fewer than two values of body_part have 10 patients"),
    ("suspects run shards=public out=new fields=[body_part,body_part]", "fields names body_part twice"),
    ("suspects run shards=public out=new fields=[fracture]", r"no labels\.parquet"),
    ("corrections absent.csv shards=public out=new", r"absent\.csv cannot be read"),
    ("corrections file.txt shards=public out=new", r"file\.txt line 1: the column key is missing"),
    ("predict absent file.txt out=new", "absent is not a predictor folder"),
    ("predict run file.txt out=new", "run is not a predictor folder"),
    ("predict run", "required: FILES"),
    ("export run out=new", "required: --to"),
    ("export run --to timm --size big out=new", "--size is not ROWSxCOLUMNS in pixels: big"),
    ("export run --to timm out=new", "--size"),
    ("export absent --to safetensors out=new", "absent"),
    ("cost --config small_cpu --gpus 0", "--gpus must be above 0"),
    ("cost --config small_cpu --tokens many", "--tokens many"),
    ("cost --config small_cpu --models vit_x", "--models vit_x is not one of"),
    ("bench speed", "invalid choice: 'speed'"),
    ("schema shards", "invalid choice: 'shards'"),
    ("completion powershell", "invalid choice: 'powershell'"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and shards, and things that are neither."""
    path = tmp_path_factory.mktemp("inputs")
    write_public(path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(4)])
    train(path / "run", MAESettings(decoder_dim=16, decoder_heads=4))
    (path / "used").mkdir()
    (path / "used" / "thesis.tex").write_text("words")
    (path / "file.txt").write_text("words")
    (path / "list.yaml").write_text("- one\n")
    (path / "broken.yaml").write_text("workers: [\n")
    return path


@pytest.mark.parametrize(("words", "message"), WRONG, ids=lambda value: value[:70])
def test_a_wrong_input_is_one_line(
    words: str, message: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MAE_RAD_KEY", "0123456789abcdef" * 2)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    try:
        code = main(words.split())
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    printed = capfd.readouterr()
    assert code == 2, printed
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert printed.out == ""
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_secret_is_needed(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for secret, message in (("", "MAE_RAD_KEY"), ("short", "16")):
        monkeypatch.setenv("MAE_RAD_KEY", secret)
        assert main(["scan", "used", "--out", "new"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line
    assert not (folder / "new").exists()


def test_every_command_has_a_wrong_input() -> None:
    assert {words.split()[0] for words, _ in WRONG if words} >= {*COMMANDS, *DATA_PREP}
