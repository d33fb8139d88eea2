"""What was learned and who is better stand on the page, in the text and in MLflow as the table says."""

import re
from dataclasses import replace

import pytest

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.floors_and_ceilings import with_floors_and_ceilings
from mae_rad.evaluation.figures.score_bar import WIDTH, scale_of, score_bar
from mae_rad.evaluation.mlflow_runs import child_runs, parent_tags
from mae_rad.evaluation.report.external_encoders import better_side, external_comparisons
from mae_rad.evaluation.report.learned import learned_sentences
from mae_rad.evaluation.report.report_page import render
from mae_rad.evaluation.report.text_table import format_table
from mae_rad.evaluation.results.display_names import interval_text
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, RAW_PIXELS
from mae_rad.evaluation.statistics.intervals import Interval
from tests.builders.made_comparison import made_facts, made_rows

METHODS = {"mae": "mae", "lite0": "foreign", "truth": "foreign", RAW_PIXELS: "pca", RANDOM_BASELINE: "random"}
TASKS = ("sex", "fracture", "cast")
LEVELS = {"mae": 0.8, "lite0": 0.7, "truth": 0.95, RAW_PIXELS: 0.6, RANDOM_BASELINE: 0.66}
ABOUT = "ImageNet; 128 px & three equal <channels>"


@pytest.fixture(scope="module")
def results():
    """The run is above both floors for sex, below for cast; lite0 is better for fracture."""
    candidates = [Candidate(name, kind, name, is_ceiling=name == "truth") for name, kind in METHODS.items()]
    rows = []
    for made in made_rows(TASKS, METHODS, probes=["linear"], fractions=(0.1, 1.0)):
        is_of_ceiling = made.reference is not None and "truth" in (made.encoder, made.reference)
        if (made.metric, made.probe, made.subset) != ("auroc", "linear", "all") or is_of_ceiling:
            continue
        value = LEVELS[made.encoder]
        row = replace(made, interval=Interval(value, value - 0.02, value + 0.02))
        if made.reference is None:
            rows.append(row)
            continue
        is_lower = (made.task, made.encoder) == ("cast", "mae") or (made.task, made.reference) == ("fracture", "lite0")
        size = -0.1 if is_lower else 0.1
        about, verdict = Interval(size, size - 0.05, size + 0.05), "lower" if is_lower else "higher"
        rows.append(replace(row, difference=about, verdict=verdict, p_value=1e-4))
    return ComparisonResults(with_floors_and_ceilings(rows, candidates))


@pytest.fixture(scope="module")
def facts():
    made = made_facts(TASKS, METHODS)
    encoders = [one.model_copy(update={"about": ABOUT}) if one.name == "lite0" else one for one in made.encoders]
    return made.model_copy(update={"encoders": encoders})


def words_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_sentences_say_what_is_above_both_floors(results):
    mae, lite0 = learned_sentences(results)
    assert mae == (
        f"mae against {RANDOM_BASELINE} and {RAW_PIXELS} (linear probe): with all labels above for sex, fracture, not"
        " above for cast; with 10 % of the labels above for sex, fracture, not above for cast."
    )
    assert lite0.startswith("lite0 against ")


def test_it_is_said_which_encoder_is_better_for_which_task(results, facts):
    (one,) = external_comparisons(results, facts)
    assert (one.name, one.encoders, one.about) == ("lite0", ["mae"], ABOUT)
    assert len(one.rows) == 3 * 2  # tasks and fractions
    difference = interval_text(Interval(0.1, 0.05, 0.15), signs=True)
    assert one.sentences[0] == (
        f"mae against lite0, linear probe with all labels: mae is better for sex (AUROC {difference}); lite0 is better"
        " for fracture (AUROC −0.100 [−0.150, −0.050]), cast (AUROC −0.100 [−0.150, −0.050])."
    )
    (row,) = one.rows[0][3]
    assert row is not None
    assert [better_side(replace(row, metric=m)) for m in ("auroc", "mean_absolute_error")] == [1, -1]
    assert better_side(replace(row, verdict="no difference shown")) == 0


def test_page_text_and_tracking_show_the_same(results, facts):
    page = render(results, facts, {})
    words, text = words_of(page), format_table(results, facts)
    said = [*learned_sentences(results), *external_comparisons(results, facts)[0].sentences]
    note = parent_tags(facts, results, {})["mlflow.note.content"]
    for sentence in said:
        assert all(sentence in where for where in (words, text, note))
    assert "ImageNet; 128 px &amp; three equal &lt;channels&gt;" in page
    share = (0.8 - 0.66) / (0.95 - 0.66)
    assert f"floor 0.660 ({RANDOM_BASELINE}), ceiling 0.950 (truth), share {share:.2f}, above floors: yes" in text
    assert page.count('<svg class="bar"') == 2 * 3 * 2  # encoders, tasks, fractions
    run = next(run for run in child_runs(results, {}, {}, {"mae": "a run"}) if run.name == "mae · sex")
    assert run.tags["above_floors"] == "linear: yes"
    assert run.tags["about"] == "a run"
    logged = {name: value for name, value, _ in run.metrics}
    assert [logged[f"linear/{name}"] for name in ("floor", "ceiling", "share")] == [0.66, 0.95, round(share, 4)]


def test_a_bar_has_its_marks_at_their_numbers(results):
    row = results.values("sex", "linear")[0]
    scale = scale_of([row])
    assert scale == pytest.approx((0.66, 0.95))
    drawn = score_bar(row, scale, "#123456")
    at = {number: 8 + (WIDTH - 16) * (number - 0.66) / 0.29 for number in (0.66, 0.78, 0.8, 0.82, 0.95)}
    assert f'<rect x="0" y="4" width="{at[0.66]:.1f}"' in drawn
    assert f'x1="{at[0.95]:.1f}" y1="2"' in drawn
    assert f'x1="{at[0.78]:.1f}" y1="11.0" x2="{at[0.82]:.1f}"' in drawn
    assert f'cx="{at[0.8]:.1f}" cy="11.0" r="5" fill="#123456"' in drawn
    assert 'fill="#fff"' in score_bar(replace(row, above_floors="no"), scale, "#123456")
    turned = score_bar(row, scale, "#123456", lower_is_better=True)
    assert f'cx="{WIDTH - at[0.8]:.1f}"' in turned
    assert 'x1="8.0" y1="2"' in turned


def test_without_floors_nothing_is_said():
    rows = made_rows(TASKS, {"mae": "mae", "simclr": "simclr"}, probes=["linear"])
    alone = ComparisonResults(rows)
    assert list(learned_sentences(alone)) == []
    assert "What was learned" not in render(alone, made_facts(TASKS, {"mae": "mae", "simclr": "simclr"}), {})
