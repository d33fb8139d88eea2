import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.errors import EvaluationError, SettingsError, ShardFormatError
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.label_draws import patient_folds
from mae_rad.evaluation.comparison.settings import TaskSettings
from mae_rad.evaluation.comparison.tasks import build_tasks
from tests.builders.film_tables import film, hexed, write_public

SPLIT = {0: "train", 1: "train", 2: "val", 3: "test"}


def archive(count=80, **fields):
    """Two films per patient; patients go round train, train, val, test; body parts alternate."""
    films = []
    for patient in range(count):
        for number in range(2):
            part = "HAND" if (patient // 4) % 2 else "CHEST"
            values = {"body_part": part, "view": "PA" if number else "LATERAL"} | fields
            films.append(film((patient, number), patient, SPLIT[patient % 4], **values))
    return films


def build(folder, films, labels=(), tasks=(), all_labels=False, min_patients=5):
    public = write_public(folder, films, labels)
    return build_tasks(Films([public]), tasks, all_labels=all_labels, min_patients=min_patients)


def keys_of(task, films):
    return [films[row]["key"] for row in task.rows]


def test_a_column_is_a_task_over_its_values(tmp_path):
    films = archive()
    (task,), skipped = build(tmp_path / "p", films, tasks=[TaskSettings(column="body_part")])
    assert skipped == []
    assert task.classes == ("CHEST", "HAND")
    assert [task.classes[c] for c in task.y] == [row["body_part"] for row in films]
    assert list(task.split) == [row["split"] for row in films]
    assert (task.patients[::2] == task.patients[1::2]).all()
    assert len(set(task.patients)) == 80


def test_many_rejected_classes_are_counted_not_named(tmp_path):
    films = archive()
    _, (skipped,) = build(tmp_path / "p", films, tasks=[TaskSettings(column="patient")])
    assert skipped.reason == "80 values of fewer than 5 training or test patients each"


def test_a_film_without_a_value_is_left_out_and_counted(tmp_path):
    films = archive()
    films[3]["body_part"] = films[9]["body_part"] = None
    (task,), _ = build(tmp_path / "p", films, tasks=[TaskSettings(column="body_part")])
    assert task.left_out == {"no body_part": 2}
    assert films[3]["key"] not in keys_of(task, films)
    assert len(task.rows) == 158


def test_where_selects_the_films_of_a_task(tmp_path):
    films = archive()
    (task,), _ = build(tmp_path / "p", films, tasks=[TaskSettings(column="view", where={"body_part": ["HAND"]})])
    assert set(keys_of(task, films)) == {row["key"] for row in films if row["body_part"] == "HAND"}
    with pytest.raises(SettingsError, match="no column 'organ'"):
        build(tmp_path / "q", films, tasks=[TaskSettings(column="view", where={"organ": "HAND"})])


def test_a_rare_class_is_left_out_with_its_reason(tmp_path):
    films = archive()
    for row in films[:8]:
        row["body_part"] = "FOOT"  # patients 0..3: two in train, one in test
    (task,), _ = build(tmp_path / "p", films, tasks=[TaskSettings(column="body_part")])
    assert task.classes == ("CHEST", "HAND")
    assert task.left_out == {"FOOT: 2 training and 1 test patients, fewer than 5": 8}


def test_a_task_of_one_class_is_skipped_with_its_reason(tmp_path):
    tasks, skipped = build(tmp_path / "p", archive(body_part="HAND"), tasks=[TaskSettings(column="body_part")])
    assert tasks == []
    assert [(task.name, task.reason) for task in skipped] == [("body_part", "every film is HAND")]


def test_too_few_test_patients_are_a_reason(tmp_path):
    tasks, (skipped,) = build(tmp_path / "p", archive(16), tasks=[TaskSettings(column="body_part")])
    assert tasks == []
    assert "CHEST: 4 training and 2 test patients, fewer than 5" in skipped.reason


def test_only_present_and_absent_are_classes(tmp_path):
    films = archive()
    said = ["present", "absent", "uncertain", "not_mentioned"]
    labels = [
        (row["key"], "fracture", said[(number + number // 8) % 4], "expert") for number, row in enumerate(films[:-4])
    ]
    (task,), _ = build(tmp_path / "p", films, labels, all_labels=True)
    assert (task.name, task.classes) == ("fracture", ("absent", "present"))
    values = {key: value for key, _, value, _ in labels}
    assert all(values[key] == task.classes[c] for key, c in zip(keys_of(task, films), task.y, strict=True))
    said_of = list(values.values())
    expected = {"uncertain": said_of.count("uncertain"), "not mentioned": said_of.count("not_mentioned")}
    assert task.left_out == {"not labelled": 4} | expected
    assert len(task.rows) == 156 - sum(expected.values())


def test_an_expert_goes_before_a_report_and_a_contradiction_is_left_out(tmp_path):
    films = archive()
    labels = [
        (row["key"], "fracture", "absent" if (n + n // 8) % 4 < 2 else "present", "report")
        for n, row in enumerate(films)
    ]
    labels.append((films[0]["key"], "fracture", "present", "expert"))
    labels += [(films[1]["key"], "fracture", value, "expert") for value in ("present", "absent")]
    labels.append((hexed("elsewhere"), "fracture", "present", "expert"))
    (task,), _ = build(tmp_path / "p", films, labels, all_labels=True)
    answer = dict(zip(keys_of(task, films), task.y, strict=True))
    assert answer[films[0]["key"]] == 1
    assert films[1]["key"] not in answer
    assert answer[films[4]["key"]] == 0
    assert task.left_out == {"labels conflict": 1}
    assert len(answer) == 159


def test_the_label_policy_selects_the_label_entry(tmp_path):
    films = archive()
    labels = [
        (row["key"], "fracture", "absent" if (n // 8) % 2 else "present", "report") for n, row in enumerate(films)
    ]
    labels += [(row["key"], "fracture", "uncertain", "expert") for row in films[:16]]
    public = write_public(tmp_path / "p", films, labels)

    def left_out(**policy):
        tasks, _ = build_tasks(Films([public]), [], all_labels=True, min_patients=5, policy=LabelPolicy(**policy))
        return tasks[0].left_out

    assert left_out() == {"uncertain": 16}
    assert left_out(merge="weak_only") == {}
    assert left_out(uncertain="soft") == {"neither present nor absent": 16}
    assert left_out(uncertain="negative") == {}


def test_numbers_are_binned_between_edges(tmp_path):
    films = archive()
    for number, row in enumerate(films):
        row["age_years"] = None if number == 0 else (number // 2) % 80
    task = TaskSettings(column="age_years", edges=[20, 60], name="age")
    (found,), _ = build(tmp_path / "p", films, tasks=[task])
    assert found.classes == ("20 to under 60", "60 and more", "under 20")
    assert found.left_out == {"no age_years": 1}
    ages = np.array([films[row]["age_years"] for row in found.rows])
    expected = np.where(ages < 20, "under 20", np.where(ages < 60, "20 to under 60", "60 and more"))
    assert [found.classes[c] for c in found.y] == list(expected)
    with pytest.raises(ValueError, match="ascending order"):
        TaskSettings(column="age_years", edges=[20, 10])


def test_a_missing_label_is_a_reason(tmp_path):
    _, (skipped,) = build(tmp_path / "p", archive(), tasks=[TaskSettings(label="fracture")])
    assert "labels.parquet" in skipped.reason
    labels = [(row["key"], "cast", "absent", "expert") for row in archive()]
    _, (skipped,) = build(tmp_path / "q", archive(), labels, tasks=[TaskSettings(label="fracture")])
    assert "no label 'fracture'; it has cast" in skipped.reason


def test_films_of_unknown_patients_are_only_in_train(tmp_path):
    films = archive()
    for row in films[::3]:
        row["patient_known"] = False
    (task,), _ = build(tmp_path / "p", films, tasks=[TaskSettings(column="view")])
    known = {row["key"]: row["patient_known"] for row in films}
    assert all(known[key] for key, split in zip(keys_of(task, films), task.split, strict=True) if split != "train")
    assert not all(known[key] for key in keys_of(task, films))
    assert task.left_out == {
        "patient unknown, outside train": sum(not row["patient_known"] and row["split"] != "train" for row in films)
    }


def test_a_patient_in_two_splits_is_refused(tmp_path):
    one = write_public(tmp_path / "a", archive())
    two = write_public(tmp_path / "b", [film("another", 3, "train"), film("more", 7, "test")])
    with pytest.raises(EvaluationError, match=r"1 patients .* more than one split"):
        Films([one, two])
    with pytest.raises(ShardFormatError):
        Films([one, one])


def test_settings_of_a_task_name_one_source():
    for wrong in ({}, {"column": "view", "label": "fracture"}):
        with pytest.raises(ValueError, match="either a column or a label"):
            TaskSettings(**wrong)


def test_scored_on_val_the_test_films_take_no_part(tmp_path):
    films = archive()
    public = write_public(tmp_path / "p", films)
    on_val = Films([public], score_on="val")
    (task,), _ = build_tasks(on_val, [TaskSettings(column="body_part")], all_labels=False, min_patients=5)
    of_split = {name: {row["key"] for row in films if row["split"] == name} for name in ("train", "val", "test")}
    assert {films[row]["key"] for row in task.rows[task.positions("test")]} == of_split["val"]
    assert {films[row]["key"] for row in task.rows[task.positions("train")]} == of_split["train"]
    assert len(task.positions("val")) == 0


def with_numbers(folder, films, rows, tasks=(), **options):
    """Tasks of films with the labels ``rows``: (key, label, value, number, source)."""
    public = write_public(folder, films)
    names = ("key", "label", "value", "number", "source")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], LABELS_SCHEMA)
    pq.write_table(table, public / "labels.parquet")
    return build_tasks(Films([public]), tasks, **({"all_labels": True, "min_patients": 5} | options))


def test_a_label_with_numbers_is_a_task_of_numbers(tmp_path):
    films = archive()
    rows = [(row["key"], "bone_age", None, float(n), "expert") for n, row in enumerate(films[:-3])]
    rows.append((films[0]["key"], "bone_age", None, 999.0, "report"))
    (task,), skipped = with_numbers(tmp_path / "p", films, rows, [TaskSettings(label="bone_age", unit="months")])
    assert (task.name, task.label, task.unit, skipped) == ("bone_age", "bone_age", "months", [])
    numbers = dict(zip(keys_of(task, films), task.numbers, strict=True))
    assert numbers == {key: number for key, _, _, number, source in rows if source == "expert"}
    assert task.left_out == {"not labelled": 3}
    assert task.targets is task.numbers
    (again,), _ = with_numbers(tmp_path / "q", films, rows)
    np.testing.assert_array_equal(again.numbers, task.numbers)


def test_a_column_of_numbers_is_a_task_of_numbers_unless_it_has_edges(tmp_path):
    films = archive()
    for number, row in enumerate(films):
        row["age_years"] = None if number == 5 else 10 + number // 8 % 3 * 10
    age = {"column": "age_years"}
    tasks = [
        TaskSettings(**age),
        TaskSettings(**age, edges=[20], name="ranges"),
        TaskSettings(**age, number=False, name="years"),
    ]
    (numbers, ranges, years), _ = build(tmp_path / "p", films, tasks=tasks, min_patients=2)
    assert [films[row]["age_years"] for row in numbers.rows] == numbers.numbers.tolist()
    assert (numbers.unit, numbers.left_out) == ("years", {"no age_years": 1})
    assert (ranges.numbers, years.numbers) == (None, None)
    assert ranges.classes == ("20 and more", "under 20")
    assert years.classes == ("10", "20", "30")
    with pytest.raises(SettingsError, match="sex is not a column of numbers"):
        build(tmp_path / "q", films, tasks=[TaskSettings(column="sex", number=True)])
    with pytest.raises(ValueError, match="edges divide numbers into classes"):
        TaskSettings(**age, edges=[20], number=True)


def test_a_label_with_values_and_numbers_says_which_it_uses(tmp_path):
    films = archive()
    said = ["present" if (n // 8) % 2 else "absent" for n in range(120)]
    values = [(row["key"], "osteopenia", value, None, "expert") for row, value in zip(films, said, strict=False)]
    rows = [*values, *((row["key"], "osteopenia", None, float(n), "expert") for n, row in enumerate(films))]
    (task,), (skipped,) = with_numbers(tmp_path / "p", films, rows)
    assert task.classes == ("absent", "present")
    assert task.left_out == {"a number, no value": 40}
    assert skipped.name == "osteopenia, numbers"
    assert "its task is of the values. Add a task {label: osteopenia, number: true" in skipped.reason
    wanted = [TaskSettings(label="osteopenia"), TaskSettings(label="osteopenia", number=True, name="density")]
    (classes, numbers), skipped = with_numbers(tmp_path / "q", films, rows, wanted)
    assert (classes.numbers is None, numbers.name, len(numbers.rows), skipped) == (True, "density", 160, [])


def test_a_label_without_what_is_requested_is_a_reason(tmp_path):
    films = archive()
    rows = [(row["key"], "bone_age", None, float(n), "expert") for n, row in enumerate(films)]
    wanted = [TaskSettings(label="bone_age", number=False), TaskSettings(label="cast", number=True, name="cast")]
    tasks, skipped = with_numbers(tmp_path / "p", films, rows, wanted, all_labels=False)
    assert tasks == []
    assert [task.reason for task in skipped] == [
        "labels.parquet has numbers of 'bone_age', not values. Remove `number`",
        "labels.parquet has no label 'cast'; it has bone_age",
    ]
    same = [(key, label, value, 7.0, source) for key, label, value, _, source in rows]
    _, (skipped,) = with_numbers(tmp_path / "q", films, same)
    assert skipped.reason == "the number of every test film is the same"


def test_with_folds_a_class_needs_patients_outside_every_fold(tmp_path):
    films = archive(240)
    test = [row for row in films if row["split"] == "test"]
    public = write_public(tmp_path / "p", films)
    folds = patient_folds(Films([public]), 3, 0)
    assert folds is not None
    fold_of = dict(zip((row["key"] for row in films), folds.tolist(), strict=True))
    assert {fold for key, fold in fold_of.items() if key not in {row["key"] for row in test}} == {-1}
    in_one_fold = sorted({row["patient"] for row in test if fold_of[row["key"]] == 0})[:5]
    rare = [row for row in test if row["patient"] in in_one_fold]
    for row in rare:
        row["body_part"] = "FOOT"
    public = write_public(tmp_path / "q", films)
    tasks = [TaskSettings(column="body_part")]
    (task,), _ = build_tasks(Films([public]), tasks, all_labels=False, min_patients=5, folds=folds)
    assert task.classes == ("CHEST", "HAND")
    assert task.left_out == {"FOOT: 0 training and 5 test patients, fewer than 5": 10}
    np.testing.assert_array_equal(task.folds, folds[task.rows])
