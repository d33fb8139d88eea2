"""The page of a comparison: every number with its interval and n, nothing loaded, nobody named, nothing claimed."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from mae_rad.errors import EvaluationError
from mae_rad.evaluation.figures.forest import values_forests
from mae_rad.evaluation.mlflow_runs import parent_tags
from mae_rad.evaluation.report import verdict_sentences
from mae_rad.evaluation.report.facts import (
    EncoderFacts,
    Mismatch,
    hide_rare_subsets,
    hide_rare_values,
    read_facts,
    write_facts,
)
from mae_rad.evaluation.report.limits import limits
from mae_rad.evaluation.report.report_page import render, write_page
from mae_rad.evaluation.report.text_table import format_table
from mae_rad.evaluation.results.display_names import interval_text, plain_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import MAY_BE_NARROW, RANDOM_BASELINE, write_comparison
from mae_rad.evaluation.statistics.intervals import Interval
from tests.builders.made_comparison import FEW, FILMS, PATIENTS, TASKS, made_facts, made_rows

EVIL = '<script>alert("x")</script>&<img src=x onerror=y>'


class Tags(HTMLParser):
    """Tags and attributes of a page, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


ASKED = ("foreign_object", "fracture")


@pytest.fixture(scope="module")
def rows():
    return hide_rare_subsets(made_rows(ASKED, FEW, probes=["linear", "knn"]))


@pytest.fixture(scope="module")
def page(rows):
    return render(
        ComparisonResults(rows),
        made_facts(ASKED, FEW),
        {"map-view.png": Markup('<img src="data:image/png;base64,AA" alt="x">')},
    )


def words_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_is_self_contained_and_loads_nothing(page):
    parsed = Tags(page)
    assert parsed.open == []
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "audio"}
    anchors = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
        if tag == "a":
            assert attributes["href"][1:] in anchors
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/", "")
    assert re.findall(r"url\((?!#)", page) == [] and "@import" not in page
    policy = next(attributes["content"] for _, attributes in parsed.tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:")


def test_the_page_has_every_value_of_the_table_with_interval_and_n(page, rows):
    text = words_of(page)
    counted = f"{FILMS:,} ({PATIENTS:,})"
    assert counted in text
    for row in rows:
        if row.probe_seed is not None or row.metric == "linear_cka":
            continue
        shown = row.difference if row.difference is not None else row.interval
        assert interval_text(shown, signs=row.difference is not None) in text, row


def test_figures_have_the_values_of_the_table(page, rows):
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    pair = next(row for row in rows if row.reference == "simclr" and row.label_fraction == 1)
    value, low, high = (interval_text(Interval(x, float("nan"), 0), signs=True).split(" ")[0] for x in pair.difference)
    assert f">{value} [{low}, {high}]<" in drawn


def test_figures_name_their_units_and_counts(page):
    text = words_of("".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL)))
    assert f"{FILMS} test films, {PATIENTS} patients" in text
    assert "training films" in text
    assert "95 % interval over" in text
    assert "0.5 is chance" in text


def test_a_single_run_ranks_no_method(page, rows):
    assert "do not rank the methods" in page
    several = [replace(row, n_runs=3, n_reference_runs=3 if row.n_reference_runs else None) for row in rows]
    assert "do not rank the methods" not in render(ComparisonResults(several), made_facts(ASKED, FEW), {})


def test_pixels_without_pretraining_do_not_make_a_method_a_single_run():
    made = made_rows(ASKED, {"mae": "mae", "simclr": "simclr", "pixels": "pca", "other": "foreign"}, probes=["linear"])
    several = {"mae": 3, "simclr": 3}
    rows = [
        replace(row, n_runs=several.get(row.encoder, 1), n_reference_runs=several.get(row.reference, 1))
        for row in made
        if row.subset == "all"
    ]
    results = ComparisonResults(rows)
    assert verdict_sentences.not_measured(results) == ""
    assert "several times, over its runs" in verdict_sentences.spread_words(results)
    told = dict(limits(made_facts(ASKED, FEW), results))
    assert "It does not rank methods" not in told
    assert told["Other differences of single runs"].startswith("Each of other is one pretraining run. ")
    one_sided = ComparisonResults([replace(row, n_runs=1 if row.encoder == "simclr" else row.n_runs,
                                 n_reference_runs=1 if row.reference == "simclr" else row.n_reference_runs)
                         for row in rows])  # fmt: skip
    assert verdict_sentences.not_measured(one_sided).startswith("Each of simclr is one pretraining run. ")
    assert "do not rank methods" in render(one_sided, made_facts(ASKED, FEW), {})


def test_an_arm_that_is_not_matched_is_reported_with_the_result(rows):
    why = "declared sample_matched, but films seen differs by 700%"
    wrong = Mismatch(encoder="mae", reference="simclr", arm="none", why=why)
    facts = made_facts(ASKED, FEW).model_copy(update={"mismatches": [wrong]})
    page, text = words_of(render(ComparisonResults(rows), facts, {})), format_table(ComparisonResults(rows), facts)
    said = why.capitalize()
    assert page.rindex("The result") < page.index(said) < page.index("Two encoders on the same films")
    assert page.count(said) == 2  # at the answer and at its differences
    assert f"mae against simclr: {why}" in page
    assert f"Not matched: mae against simclr: {why}" in text
    assert "Not matched" not in words_of(render(ComparisonResults(rows), made_facts(ASKED, FEW), {}))
    (note,) = (tags["mlflow.note.content"] for tags in [parent_tags(facts, ComparisonResults(rows), {})])
    assert f"Not matched: mae against simclr: {why}" in note


def difference(verdict, value=0.01, **more):
    two = made_rows(TASKS[:1], {"mae": "mae", "simclr": "simclr"}, probes=["linear"], fractions=[1.0])
    row = next(row for row in two if row.reference == "simclr" and row.probe == "linear")
    between = Interval(value, value - 0.02, value + 0.02)
    return replace(row, verdict=verdict, difference=between, minimum_detectable_difference=0.06, **more)


def test_no_difference_and_too_few_patients_have_different_texts():
    assert verdict_sentences.verdict_words(difference("higher")) == "mae higher"
    assert verdict_sentences.verdict_words(difference("no relevant difference")) == "no relevant difference"
    assert (
        verdict_sentences.verdict_words(difference("no difference shown"))
        == "no difference shown; 0.060 or more would be detected"
    )
    assert verdict_sentences.verdict_words(difference("too few patients")).startswith("too few patients: only 0.060")
    alone = replace(difference("too few patients"), difference=Interval(0.05, 0.01, 0.09))
    assert "not significant after correction" in verdict_sentences.verdict_words(alone)
    lost = replace(difference("too few patients"), difference=Interval(0.1, float("nan"), float("nan")))
    assert interval_text(lost.difference, signs=True) == "+0.100 [no interval]"
    none = replace(difference("too few patients"), minimum_detectable_difference=7.5)
    assert verdict_sentences.verdict_words(none) == "too few patients: no difference can be detected"
    assert "would probably be detected" not in verdict_sentences.sentence(
        ComparisonResults([none]), ("mae", "simclr", "none")
    )
    repeated = difference("too few patients", n_runs=3)
    assert verdict_sentences.verdict_words(repeated).startswith("too few patients or pretraining runs")
    sentence = verdict_sentences.sentence(
        ComparisonResults([difference("too few patients")]), ("mae", "simclr", "none")
    )
    assert "equal" not in sentence and "too few patients in body part" in sentence
    assert "(intervals from −0.010 to +0.030; a difference of 0.060 or more would probably be detected)" in sentence


def test_the_result_is_one_sentence_with_its_interval():
    rows = [difference("higher", 0.05), replace(difference("higher", 0.09), task="view")]
    sentence = verdict_sentences.sentence(ComparisonResults(rows), ("mae", "simclr", "none"))
    assert "higher in 2, largest in view (mean AUROC +0.090 [+0.070, +0.110]); lower in none" in sentence
    assert sentence.count(".\n") == 0 and sentence.endswith(".")


def test_the_main_pair_is_the_first_two_self_supervised_groups(rows):
    assert verdict_sentences.main_pairs(ComparisonResults(rows)) == [("mae", "simclr", "none")]
    three = {"taught": "supervised", "a": "byol", "pixels": "pca", "b": "dino", "c": "mae", RANDOM_BASELINE: "random"}
    assert verdict_sentences.main_pairs(ComparisonResults(made_rows(TASKS[:1], three))) == [("a", "b", "none")]
    same = made_rows(TASKS[:1], {"a": "dino", "b": "dino", "c": "mae", RANDOM_BASELINE: "random"})
    assert verdict_sentences.main_pairs(ComparisonResults(same)) == [("a", "b", "none")]


def test_the_main_pairs_are_the_first_two_groups_of_each_arm():
    sides = ("m", "s", "sample_matched"), ("m", "s2", "sample_matched"), ("m", "c", "compute_matched")
    pairs = [replace(difference("higher", arm=arm), encoder=one, reference=other) for one, other, arm in sides]
    methods = {"m": "mae", "s": "simclr", "s2": "byol", "c": "simclr"}
    values = [
        replace(row, encoder=name, method=method)
        for name, method in methods.items()
        for row in made_rows(TASKS[:1], {"mae": "mae", RANDOM_BASELINE: "random"})
        if row.encoder == "mae" and row.reference is None
    ]
    assert verdict_sentences.main_pairs(ComparisonResults([*values, *pairs])) == [sides[0], sides[2]]


def test_without_two_self_supervised_groups_the_main_pairs_are_the_first_pairs():
    alone = made_rows(TASKS[:1], {"mae": "mae", RANDOM_BASELINE: "random"})
    assert verdict_sentences.main_pairs(ComparisonResults(alone)) == [("mae", RANDOM_BASELINE, "none")]
    taught = made_rows(TASKS[:1], {"mae": "mae", "x": "supervised", "y": "pca", RANDOM_BASELINE: "random"})
    assert verdict_sentences.main_pairs(ComparisonResults(taught)) == [("mae", "x", "none"), ("mae", "y", "none")]


def test_films_left_out_are_reported_with_the_reason(page):
    text = words_of(page)
    for words in (
        "12 uncertain",
        "7 not labelled",
        "corrupt pixels 15",
        "laterality",
        "every film is L",
        "9 counted once",
    ):
        assert words in text


def test_values_that_few_patients_share_are_not_named(page):
    assert "SCAPULA" not in page
    assert "body part rare 1" in page
    told = hide_rare_values(
        "SCAPULA: 3 training and 1 test patients, fewer than 5; HAND: 40 training and 3 test patients, …"
    )
    assert told == "a rare value: too few patients, fewer than 5; HAND: 40 training and 3 test patients, …"


def test_a_found_shortcut_is_named(page):
    assert "Shortcut found." in page
    told = "foreign object, mae: among films of one manufacturer the score changes by −0.150 [−0.200, −0.100]"
    assert told in page
    assert page.count("Shortcut found.") == 1


def test_limits_follow_from_the_facts(rows):
    facts = made_facts(ASKED, FEW)
    told = dict(limits(facts, ComparisonResults(rows)))
    assert {
        "It does not rank methods",
        "Films and computation were not matched",
        "Equal films in several splits",
    } <= set(told)
    matched = [replace(row, arm="sample_matched") for row in rows]
    strange = facts.model_copy(
        update={
            "same_pixels_across_splits": 0,
            "encoders": [EncoderFacts(name="x", method="foreign", about="", other_films=True)],
        }
    )
    told = dict(limits(strange, ComparisonResults(matched)))
    assert not {"Films and computation were not matched", "Equal films in several splits"} & set(told)
    assert "x: pretrained on other films" in told["Encoders trained on other films"]
    assert "Encoders trained with labels" not in told
    taught = facts.model_copy(update={"encoders": [EncoderFacts(name="x", method="supervised", about="")]})
    assert "x: trained with labels" in dict(limits(taught, ComparisonResults(matched)))["Encoders trained with labels"]


def test_a_comparison_on_validation_films_says_so(rows):
    facts = made_facts(ASKED, FEW)
    assert "Scored on validation films" not in dict(limits(facts, ComparisonResults(rows)))
    on_val = facts.model_copy(update={"score_on": "val"})
    assert "Scored on validation films" in dict(limits(on_val, ComparisonResults(rows)))
    assert "Scored on validation films" in format_table(ComparisonResults(rows), on_val)


def test_scores_of_few_patients_are_listed_in_the_limits(rows):
    note = f"a class has 7 test patients: {MAY_BE_NARROW}"
    few = [replace(row, note=note) if row.task == rows[0].task else row for row in rows]
    facts = made_facts(ASKED, FEW)
    told = dict(limits(facts, ComparisonResults(few)))
    assert f"For {plain_name(rows[0].task)}, a class has" in told["Intervals that may be too narrow"]
    assert "Intervals that may be too narrow" not in dict(limits(facts, ComparisonResults(rows)))


def test_all_texts_are_escaped(rows):
    renamed = [replace(row, encoder=EVIL if row.encoder == "mae" else row.encoder, note=EVIL) for row in rows]
    facts = made_facts(ASKED, FEW).model_copy(update={"not_asked": {EVIL: EVIL}})
    parsed = Tags(render(ComparisonResults(renamed), facts, {}))
    assert parsed.open == []
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not [attributes for _, attributes in parsed.tags if "onerror" in attributes]


def test_the_page_is_written_from_the_folder_alone(tmp_path, rows):
    write_comparison(rows, tmp_path / "comparison.parquet")
    with pytest.raises(EvaluationError, match="does not exist"):
        write_page(tmp_path)
    write_facts(made_facts(ASKED, FEW), tmp_path)
    assert read_facts(tmp_path) == made_facts(ASKED, FEW)
    path = write_page(tmp_path)
    assert str(tmp_path) not in path.read_text()
    assert path.stat().st_size < 3_000_000
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(EvaluationError, match="damaged or of another release"):
        write_page(tmp_path)


def test_the_terminal_text_has_values_differences_and_the_result(rows):
    text = format_table(ComparisonResults(rows), made_facts(ASKED, FEW))
    lines = text.splitlines()
    fracture = lines[lines.index("fracture: AUROC of present against absent") :]
    assert f"  {FILMS} test films of {PATIENTS} patients, 1,012 training films" in fracture
    assert any(line.strip().startswith("mae − simclr") and "[" in line for line in fracture)
    assert "laterality: every film is L" in text
    assert "do not rank the methods" in text
    assert all(name in text for name in FEW)


def test_differences_of_several_scales_are_not_ranked_against_each_other():
    found = [
        replace(row, metric="r2", difference=Interval(0.3, 0.2, 0.4), verdict="higher")
        if row.task == "fracture" and row.reference == "simclr"
        else replace(row, difference=Interval(0.05, 0.01, 0.09), verdict="higher")
        if row.reference == "simclr"
        else replace(row, metric="r2")
        if row.task == "fracture" and row.metric == "auroc"
        else row
        for row in made_rows(ASKED, FEW, probes=["linear"])
        if row.metric != "average_precision"
    ]
    results = ComparisonResults(found)
    said = verdict_sentences.sentence(results, ("mae", "simclr", "none"))
    assert "higher in 2, largest in foreign object (AUROC +0.050" in said
    assert "and fracture (explained variance (R²) +0.300" in said
    assert len(values_forests(results, ["linear"])) == 2
    assert len(values_forests(ComparisonResults(made_rows(ASKED, FEW, probes=["linear"])), ["linear"])) == 1


def test_the_table_says_that_a_lower_error_is_better():
    (row, *_) = [row for row in made_rows(ASKED, FEW, probes=["linear"]) if row.difference is not None]
    error = replace(row, metric="mean_absolute_error", verdict="lower")
    assert verdict_sentences.verdict_words(error) == f"{row.encoder} lower (better)"
    assert verdict_sentences.verdict_words(replace(error, verdict="higher")) == f"{row.encoder} higher (worse)"
    assert verdict_sentences.verdict_words(replace(error, metric="r2")) == f"{row.encoder} lower"
