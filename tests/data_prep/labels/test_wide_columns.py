"""Tables of labels as people keep them: words, columns without a name, texts, columns that make one fact."""

import csv
from pathlib import Path

import pytest

from data_prep.annotations.cell_values import CellWords
from data_prep.errors import LabelError
from data_prep.labels.settings import LabelSettings
from data_prep.labels.write_labels import PROBLEMS_FILE, LabelFiles, LabelSummary, write_labels
from data_prep.shard_format.label_tables import read_labels
from tests.builders.label_builder import Folders

FIRST, SECOND = "1.2.826.111", "1.2.826.222"
WORDS = {
    "present": "1 1.0 YES Yes y TRUE ja JA J wahr Wahr vorhanden positiv x X 1_yes",
    "absent": "0 0.0 NO No n FALSE nein Nein falsch negativ 0_no",
    "uncertain": "-1 Unsure UNSURE unsicher unklar Unklar fraglich unclear maybe 2_votesfew 3_contradiction 4_unsure",
}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def label(folders: Folders, table: str, **settings: object) -> LabelSummary:
    files = LabelFiles(folders.write("w.csv", table))
    return write_labels(folders.private, folders.public, files, LabelSettings.model_validate(settings))


def values(folders: Folders) -> dict[tuple[str, str], str]:
    return {(row["key"], row["label"]): row["value"] for row in read_labels(folders.public).to_pylist()}


def problems(folders: Folders) -> list[tuple[str, str]]:
    with (folders.private / PROBLEMS_FILE).open(encoding="utf-8", newline="") as file:
        return [(row["line"], row["problem"]) for row in csv.DictReader(file)]


def test_words_of_both_languages_have_their_value() -> None:
    words = CellWords({})
    assert {value: {words.value(word) for word in of_value.split()} for value, of_value in WORDS.items()} == {
        value: {value} for value in WORDS
    }
    assert words.value("  nicht   vorhanden ") == "absent" and words.value("keine Angabe") is None
    assert [word in words for word in ("perhaps", "oui", "2", "nicht", "?", "n1_o")] == [False] * 6
    assert CellWords({"Oui": "present", "nan": "absent"}).value("oui ") == "present"
    assert CellWords({"nan": "absent"}).value("NaN") == "absent"


def test_the_table_of_an_expert_as_a_data_frame_writes_it(folders: Folders) -> None:
    """No name of the first column, paths of another machine, texts beside the labels, mostly empty cells."""
    table = (
        ",path,fracture,foreignmaterial,bodypart,bodypart_original\n"
        f"0,/mnt/other/dataset/knee/aB-_cD12345/1234567890_/1/{FIRST},NO,YES,knee,foot\n"
        f"17,/mnt/other/dataset/knee/aB-_cD12345/1234567890_/2/{SECOND},Unsure,,knee,knee\n"
    )
    summary = label(folders, table)
    assert values(folders) == {
        ("aaaa", "fracture"): "absent",
        ("aaaa", "foreignmaterial"): "present",
        ("bbbb", "fracture"): "uncertain",
    }
    assert [text.partition(": ")[2].partition(":")[0] for text in summary.left_out] == [
        "column 1 is left out",
        "column 5 is left out",
        "column 6 is left out",
    ]
    assert "has no name and numbers the rows" in str(summary) and "columns.classes" in str(summary)
    assert len(problems(folders)) == 3 and "knee" not in str(problems(folders))


def test_a_column_without_a_name_that_numbers_no_rows_is_asked_about(folders: Folders) -> None:
    table = f"sop_instance_uid,Unnamed: 0,fracture\n{FIRST},1,1\n{SECOND},1,0\n"
    with pytest.raises(LabelError, match=r"w\.csv line 1: column 2 has no name"):
        label(folders, table)
    label(folders, table, rename={"Unnamed: 0": "coin"})
    assert values(folders)["bbbb", "coin"] == "present"


def test_every_unknown_word_is_listed_by_line_and_column_and_is_never_a_negative(folders: Folders) -> None:
    table = f"sop_instance_uid,fracture,coin\n{FIRST},oui,1\n{SECOND},non,non\n"
    both = table.replace(f"{FIRST},oui", f"{FIRST},1")
    with pytest.raises(LabelError, match=r"line 3: the cell in column 2 is no value.*1 more"):
        label(folders, both)
    assert [line for line, _ in problems(folders)] == ["3", "3"] and "non" not in str(problems(folders))
    with pytest.raises(LabelError, match=r"line 3: the cell in column 3 is no value"):
        label(folders, table)
    assert not (folders.public / "labels.parquet").exists()
    summary = label(folders, table, unknown_words="list")
    assert values(folders) == {("aaaa", "coin"): "present"}
    assert [line for line, text in problems(folders) if "column 3 is no value" in text] == ["3"]
    assert "column 2 is left out" in str(summary)  # not one word of it is known
    label(folders, table, words={"oui": "present", "non": "absent"})
    assert values(folders) == {
        ("aaaa", "fracture"): "present",
        ("aaaa", "coin"): "present",
        ("bbbb", "fracture"): "absent",
        ("bbbb", "coin"): "absent",
    }


def test_columns_that_make_one_fact(folders: Folders) -> None:
    table = "sop_instance_uid,region_knee,region_hand,Fuß,fracture\n"
    one_hot = {"region": ["region_*", "Fuß"]}
    label(folders, table + f"{FIRST},1,0,0,1\n{SECOND},,x,,0\n", columns={"one_hot": one_hot})
    fact = {"region_knee": "present", "region_hand": "absent", "region_fuss": "absent"}
    assert {name: value for (key, name), value in values(folders).items() if key == "aaaa"} == {
        **fact,
        "fracture": "present",
    }
    assert values(folders)["bbbb", "region_hand"] == "present" and values(folders)["bbbb", "region_knee"] == "absent"
    label(folders, table + f"{FIRST},1,1,0,1\n{SECOND},0,0,0,0\n", columns={"one_hot": one_hot})
    assert values(folders) == {
        ("aaaa", "region_knee"): "uncertain",
        ("aaaa", "region_hand"): "uncertain",
        ("aaaa", "fracture"): "present",
        ("bbbb", "fracture"): "absent",
    }
    assert [line for line, text in problems(folders) if "of the fact" in text] == ["2", "3"]
    for wrong, message in (
        ({"region": ["bone_*"]}, r"no column fits 'bone_\*'"),
        ({"region": ["region_*"], "side": ["region_hand"]}, "columns.one_hot gives a column to"),
    ):
        with pytest.raises(LabelError, match=message):
            label(folders, table + f"{FIRST},1,0,0,1\n", columns={"one_hot": wrong})


def test_a_column_of_classes_is_taken_when_asked(folders: Folders) -> None:
    table = f"sop_instance_uid,bodypart\n{FIRST},Knie\n{SECOND},hand\n"
    label(folders, table, columns={"classes": {"bodypart": "region"}}, rename={"Knie": "region_knee"})
    assert values(folders) == {
        ("aaaa", "region_knee"): "present",
        ("aaaa", "region_hand"): "absent",
        ("bbbb", "region_knee"): "absent",
        ("bbbb", "region_hand"): "present",
    }
    label(folders, table + "1.2.826.333,foot\n", columns={"classes": {"bodypart": "region"}}, rename={"Knie": None})
    assert {key for key, _ in values(folders)} == {"bbbb"}
    with pytest.raises(LabelError, match="which is no column of the table"):
        label(folders, table, columns={"classes": {"part": "region"}})
    with pytest.raises(LabelError, match=r"no column is a label.*column 2 is left out"):
        label(folders, table)


def test_pseudo_labels_from_reports_have_their_source(folders: Folders) -> None:
    rows = f"{FIRST},1_yes,1_yes\n{SECOND},3_contradiction,0_no\n"
    label(folders, f"sop_instance_uid,fracture_pseudolabel,fracture\n{rows}", source="report")
    table = read_labels(folders.public).to_pylist()
    assert {row["source"] for row in table} == {"report"}
    assert values(folders)["bbbb", "fracture_pseudolabel"] == "uncertain"


def test_a_column_with_too_many_different_cells_is_no_class(folders: Folders) -> None:
    table = "sop_instance_uid,remark\n" + "".join(f"{FIRST},remark {k}\n" for k in range(65))
    with pytest.raises(LabelError, match="column 2 has more than 64 classes"):
        label(folders, table, columns={"classes": {"remark": "region"}})


def test_grades_and_letters_are_classes_and_missing_or_doubtful_words_are_none(folders: Folders) -> None:
    table = "sop_instance_uid,grade\n" + f"{FIRST},0\n{SECOND},x\n1.2.826.333,n/a\n1.2.826.444,unsure\n"
    label(folders, table, columns={"classes": {"grade": "kl"}})
    assert {name for _, name in values(folders)} == {"kl_0", "kl_x"}


def test_a_word_that_is_not_understood_leaves_its_fact_open(folders: Folders) -> None:
    table = "sop_instance_uid,region_knee,region_hand,region_foot\n" + f"{FIRST},yes,vllt,\n{SECOND},no,yes,no\n"
    label(folders, table, columns={"one_hot": {"region": ["region_*"]}}, unknown_words="list")
    assert sorted(values(folders).values()) == ["absent", "absent", "present"]
    assert [(line, text.split(" is ")[0]) for line, text in problems(folders)] == [("2", "the cell in column 3")]
