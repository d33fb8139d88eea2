"""``append`` retries rejected files, all or those of some reasons; folders of the former ``retry`` stay readable."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import read_linkage
from data_prep.cli.main import main
from data_prep.dataset_report.report_page import write_report
from data_prep.errors import Reason, ShardFormatError
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.sharding import shard_writer
from data_prep.sharding.append import append, append_part
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify, verify_generations
from tests.builders.dicom_builder import write_film
from tests.builders.faulty_writer import REJECT, faulty_decode
from tests.builders.private_builder import ONE, SECRET, anatomy, make_private, settings
from tests.builders.rejected_films import shard_with_rejects
from tests.data_prep.sharding.test_append import rescan, write_study

CORRUPT = [Reason.CORRUPT_PIXELS]
REAL = shard_writer.decode_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with archive, private and public; six films fail in a faulty decoder, a seventh is cut short."""
    folder = tmp_path_factory.mktemp("reasons")
    shard_with_rejects(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.verification.verify.process_count", lambda workers, tasks: 1)
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(private: Path, *below: str) -> set[int]:
    return {row["row"] for row in read_linkage(private).to_pylist() if row["path"].endswith(below)}


def decoder(private: Path, *odd: int) -> Callable[..., Any]:
    """The decoder of ``shard_writer``, which fails on the films of these patients, as when the folder was made."""
    rows = rows_of(private, *(f"p{number}/odd.dcm" for number in odd))
    return lambda data, facts: (faulty_decode if facts["row"] in rows else REAL)(data, facts)


def test_rejected_films_go_into_a_new_generation(private: Path, public: Path) -> None:
    before = tree(public)
    card = append(private, public, settings(), CORRUPT)
    assert card is not None and card.files.written == 6 and card.reasons["corrupt_pixels"] == 1
    assert {name: tree(public)[name] for name in before} == before
    splits: dict[str, set[str]] = {}
    for row in read_index(public, ["patient", "split"]).to_pylist():
        splits.setdefault(row["patient"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert [verify(folder) for folder in generation_folders(public)] == [[], []] and verify_generations(public) == []


def test_only_files_rejected_for_the_reason_are_tried(private: Path, public: Path, monkeypatch: Any) -> None:
    decoded: list[int] = []

    def crash_one(data: bytes, facts: Any) -> Any:
        if facts["row"] in crashing:
            raise ValueError("a fault of the program")
        return faulty_decode(data, facts)

    def count(data: bytes, facts: Any) -> Any:
        decoded.append(facts["row"])
        return REAL(data, facts)

    crashing = rows_of(private, "p1/odd.dcm")
    monkeypatch.setattr(shard_writer, "decode_file", crash_one)
    shutil.rmtree(public)
    shard(private, public, settings())
    monkeypatch.setattr(shard_writer, "decode_file", count)
    card = append(private, public, settings(), [Reason.DECODER_CRASHED])
    assert card is not None and card.files.written == 1 and set(decoded) == crashing
    assert card.reasons["corrupt_pixels"] == 6  # the other five, and the one cut short, keep their reason
    again = append(private, public, settings(), CORRUPT)  # of the generation that was just added
    assert again is not None and again.files.written == 5 and verify_generations(public) == []


def test_an_append_without_new_films_changes_nothing(private: Path, public: Path, monkeypatch: Any) -> None:
    before = tree(public)
    monkeypatch.setattr(shard_writer, "decode_file", faulty_decode)
    card = append(private, public, settings(), CORRUPT)
    assert card is not None and card.files.written == 0 and tree(public) == before
    with pytest.raises(ShardFormatError, match=r"no file of .* was rejected for uid_conflict .*corrupt_pixels"):
        append(private, public, settings(), [Reason.UID_CONFLICT])
    assert tree(public) == before


def test_a_reason_can_be_given_again_and_every_shard_rewritten(private: Path, public: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shard_writer, "decode_file", decoder(private, 0, 1, 2))
    append(private, public, settings(), CORRUPT)
    monkeypatch.setattr(shard_writer, "decode_file", REAL)
    append(private, public, settings(), CORRUPT)
    assert [read_dataset_card(folder).files.written for folder in generation_folders(public)] == [14, 3, 3]
    after = tree(public)
    for number in (1, 2):  # by a decoder that could now read all of them at once
        monkeypatch.setattr(shard_writer, "decode_file", decoder(private, *((0, 1, 2) if number == 1 else ())))
        for path in (public / f"generation-00{number}").glob("*-*.json"):
            path.unlink()
        append(private, public, settings())
    assert tree(public) == after


def test_an_interrupted_append_continues_with_its_reasons(private: Path, public: Path, monkeypatch: Any) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    whole = Path(shutil.copytree(public, public.parent / "whole"))
    append(private, whole, settings(), CORRUPT)
    with monkeypatch.context() as patch:
        patch.setattr(shard_writer, "make_sample", interrupt)
        with pytest.raises(KeyboardInterrupt):
            append(private, public, settings(), CORRUPT)
    other = Path(shutil.copytree(public, public.parent / "other"))
    append(private, public, settings(), CORRUPT)
    assert tree(public) == tree(whole)
    append(private, other, settings())  # without a reason it starts again
    assert read_index(other).num_rows == read_index(whole).num_rows and not (other / ".generation-001").exists()


@pytest.mark.parametrize("reasons", [[], CORRUPT])
def test_a_complete_generation_without_its_name_is_published_as_it_is(
    private: Path, public: Path, reasons: list[Reason], monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.sharding.append._check_equal_pixels", interrupt)
        with pytest.raises(KeyboardInterrupt):
            append(private, public, settings(), reasons)
    complete = {name.removeprefix("."): data for name, data in tree(public).items()}
    monkeypatch.setattr(shard_writer, "decode_file", faulty_decode)  # nothing is decoded a second time
    append(private, public, settings(), reasons)
    assert tree(public) == complete and "starts again" not in caplog.text


def test_parts_are_limited_to_the_same_reasons(private: Path, public: Path, monkeypatch: Any) -> None:
    whole = Path(shutil.copytree(public, public.parent / "whole"))
    append(private, whole, settings(), CORRUPT)
    for part in ("0/2", "1/2"):
        append_part(private, public, settings(runtime={**ONE, "part": part}), CORRUPT)
    append(private, public, settings(), CORRUPT)
    assert tree(public) == tree(whole)


def test_a_rejected_copy_of_a_written_film_is_a_duplicate(tmp_path: Path, monkeypatch: Any) -> None:
    for name, comment in (("a", REJECT), ("b", None)):
        write_film(tmp_path / "archive" / f"{name}.dcm", values=anatomy("twin"), sop="1.2.3", ImageComments=comment)
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    with monkeypatch.context() as patch:
        patch.setattr(shard_writer, "decode_file", faulty_decode)
        assert shard(private, public, settings()).reasons == {"corrupt_pixels": 1}
    before = tree(public)
    assert append(private, public, settings()) is None and tree(public) == before  # it is no new film


def test_append_needs_a_finished_folder(private: Path, public: Path, tmp_path: Path) -> None:
    (public / "dataset.json").unlink()
    with pytest.raises(ShardFormatError, match="same shard command again"):
        append(private, public, settings(), CORRUPT)
    with pytest.raises(ShardFormatError, match="does not exist"):
        append(private, tmp_path / "new", settings(), CORRUPT)


def test_reasons_need_the_scan_of_the_last_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    shard(private, public, settings())
    write_study(tmp_path / "archive", 30, study="new")
    rescan(private)
    before = tree(public)
    with pytest.raises(ShardFormatError, match=r"another scan than the one that .* came from.*without --reason"):
        append(private, public, settings(), CORRUPT)
    assert tree(public) == before
    assert append(private, public, settings()) is not None


def test_a_replaced_file_is_appended_after_another_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    assert shard(private, public, settings()).reasons["corrupt_pixels"] == 1
    write_film(tmp_path / "archive" / "cut.dcm", values=anatomy("cut"), patient_id="MRN-0417-1")
    rescan(private)
    card = append(private, public, settings())
    assert card is not None and card.files.written == 1 and "corrupt_pixels" not in card.reasons


def test_many_missing_files_do_not_stop_an_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        write_film(tmp_path / "archive" / f"{number}.dcm", values=anatomy(number), patient_id=f"P{number}")
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    accept = {**ONE, "accept": ["unreadable_file"]}
    chosen = settings(films_per_shard=30, splits={"val": 0, "test": 0}, runtime=accept)
    films = sorted((tmp_path / "archive").iterdir())[:13]
    (tmp_path / "away").mkdir()
    for path in films:
        path.rename(tmp_path / "away" / path.name)
    assert shard(private, public, chosen).files.written == 17
    (tmp_path / "away" / films[0].name).rename(films[0])
    card = append(private, public, chosen, [Reason.UNREADABLE_FILE])
    assert card is not None and card.files.written == 1 and card.reasons["unreadable_file"] == 12


def test_append_takes_the_settings_of_the_folder(
    private: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["append", str(private), "--out", str(public), "--reason", "corrupt_pixels", "runtime.isolated=false"]
    assert main([*words, "runtime.max_reject_fraction=1"]) == 0
    rejects = pq.read_table(public / "generation-001" / "rejects.parquet")
    assert rejects["reason"].to_pylist().count("corrupt_pixels") == 1
    with pytest.raises(SystemExit):
        main(["no_such_reason" if word == "corrupt_pixels" else word for word in words])
    assert "invalid choice" in capsys.readouterr().err


@pytest.fixture
def retried(public: Path) -> Path:
    """As the command ``retry`` of earlier releases left a folder: its last shards are of a second attempt."""
    card = json.loads((public / "dataset.json").read_text())
    row = pq.read_table(public / "rejects.parquet")["row"][0].as_py()
    card["retries"] = [[[row, "corrupt_pixels"]]]
    (public / "dataset.json").write_text(json.dumps(card, indent=2, sort_keys=True))
    return public


def test_a_folder_with_retries_is_read_verified_audited_reported_and_appended_to(
    private: Path, retried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(read_dataset_card(retried).retries) == 1 and read_index(retried).num_rows == 14
    assert main(["verify", str(retried)]) == 0
    assert audit(retried, privates=[private]).problems == []
    assert write_report(retried, tmp_path / "report.html").films == 14
    card = append(private, retried, settings(), CORRUPT)
    assert card is not None and card.files.written == 6
    assert main(["verify", str(retried)]) == 0 and read_index(retried).num_rows == 20


def test_shard_refuses_a_folder_with_retries(private: Path, retried: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(retried)
    with pytest.raises(ShardFormatError, match=r"former command retry .* give a new folder as --out"):
        shard(private, retried, settings())
    assert tree(retried) == before
    tar = retried / "train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert main(["verify", str(retried)]) == 1
    assert "Restore the damaged files" in capsys.readouterr().out
    assert (retried / "train-000001.json").exists()
