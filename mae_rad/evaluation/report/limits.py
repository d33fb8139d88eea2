"""List the limits of a comparison, from its facts and rows."""

from collections.abc import Iterator

from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.report.verdict_sentences import main_pairs, not_measured, spread_words
from mae_rad.evaluation.results.display_names import plain_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import MAY_BE_NARROW, RANDOM_BASELINE


def limits(facts: Facts, results: ComparisonResults) -> Iterator[tuple[str, str]]:
    """Yield (limit, explanation) of a comparison.

    Args:
        facts: facts of the comparison.
        results: rows of the comparison.
    """
    if facts.score_on == "val":
        yield (
            "Scored on validation films",
            "“Test” stands for the validation films on this page. Its values are for choosing settings; what is chosen "
            "must be compared once more, on test films, before it is reported.",
        )
    main = main_pairs(results)
    if caution := not_measured(results):
        yield "It does not rank methods", caution
    elif caution := not_measured(results, [pair for pair in results.pairs if pair not in main] or main):
        yield "Other differences of single runs", caution
    if facts.mismatches:
        mismatch_text = "; ".join(
            f"{mismatch.encoder} against {mismatch.reference}: {mismatch.why}" for mismatch in facts.mismatches
        )
        yield "Runs are not matched as declared", f"{mismatch_text}. This may be the cause of a difference."
    if not any(arm in ("sample_matched", "compute_matched") for _, _, arm in results.pairs):
        yield (
            "Films and computation were not matched",
            "The encoders may differ in number of training films or in computation; an encoder with more of either may "
            "be better for this reason.",
        )
    yield (
        "The intervals are over these patients only",
        f"They state how much the values would vary with other test patients of the same kind ({facts.repetitions:,} "
        f"resamples of the patients), {spread_words(results)}.",
    )
    yield (
        "One collection of films",
        "Other hospitals, scanners and reporting practices may give other results. Nothing was evaluated on films of "
        "other sources.",
    )
    yield (
        "Frozen encoders",
        "The encoders were not trained on the tasks: simple probes use their vectors. Finetuning the whole network "
        "may change the order.",
    )
    yield from _of_the_data(facts, results)
    yield (
        "No medical device",
        "A probe is a measurement, not a diagnosis. Nothing here is validated for use on patients.",
    )


def _of_the_data(facts: Facts, results: ComparisonResults) -> Iterator[tuple[str, str]]:
    if facts.cross_fit:
        yield (
            "Probes of several folds",
            f"Probes were fitted to test films, in {facts.cross_fit} folds of patients; none scored a patient to whom "
            "it was fitted. The intervals do not contain the variation of these fits.",
        )
    open_differences = [
        row for row in results.differences() if row.verdict == "too few patients" and row.reference != RANDOM_BASELINE
    ]
    if open_differences:
        tasks = ", ".join(dict.fromkeys(plain_name(row.task) for row in open_differences))
        yield (
            "Too few patients for some tasks",
            f"For {tasks}, at least one comparison is open: a relevant difference may exist and not be detected.",
        )
    narrow_tasks = [
        plain_name(task) for task in dict.fromkeys(row.task for row in results.rows if MAY_BE_NARROW in row.note)
    ]
    if narrow_tasks:
        yield (
            "Intervals that may be too narrow",
            f"For {', '.join(narrow_tasks)}, a class has so few test patients in some result that "
            "resampling underestimates the uncertainty of the score.",
        )
    report_tasks = [task for task in facts.tasks if task.sources.get("report", 0) > task.sources.get("expert", 0)]
    if report_tasks:
        yield (
            "Labels taken from reports",
            f"{', '.join(plain_name(task.name) for task in report_tasks)}: most labels "
            "were extracted from reports by rules, with errors, which affect all encoders and hide differences.",
        )
    other_film_encoders = [encoder.name for encoder in facts.encoders if encoder.other_films]
    if other_film_encoders:
        yield (
            "Encoders trained on other films",
            f"{', '.join(other_film_encoders)}: pretrained on other films, which may include test patients.",
        )
    supervised_encoders = [encoder.name for encoder in facts.encoders if encoder.method == "supervised"]
    if supervised_encoders:
        yield (
            "Encoders trained with labels",
            f"{', '.join(supervised_encoders)}: trained with labels. The value of few labels cannot "
            "be measured for an encoder that was trained with all of them.",
        )
    if facts.same_pixels_across_splits:
        yield (
            "Equal films in several splits",
            f"{facts.same_pixels_across_splits:,} films have the same pixels as a film of another split, which "
            "makes the task easier.",
        )
    if said := facts.joined.get("distinct_patients"):
        yield (
            "Folders of different secrets",
            f"That no patient is in two of the shard folders was {said}. A patient in two of them may be trained on "
            "and scored.",
        )
    if facts.not_asked:
        yield (
            "Tasks that could not be evaluated",
            "; ".join(f"{plain_name(name)}: {reason}" for name, reason in facts.not_asked.items()),
        )
