"""What a comparison does not show: pure functions of its facts and rows."""

from collections.abc import Iterator

from mae_rad.evaluation.report.facts import Facts
from mae_rad.evaluation.report.verdict_sentences import main_pairs, not_measured, spread_words
from mae_rad.evaluation.results.display_names import plain
from mae_rad.evaluation.results.queries import Reading
from mae_rad.evaluation.results.rows import FLOOR, MAY_BE_NARROW


def limits(facts: Facts, reading: Reading) -> Iterator[tuple[str, str]]:
    """(what, why) for a reader who must judge how far the answer reaches."""
    main = main_pairs(reading)
    if said := not_measured(reading):
        yield "It does not rank methods", said
    elif said := not_measured(reading, [pair for pair in reading.pairs if pair not in main] or main):
        yield "Beside the answer, single runs", said
    if facts.mismatches:
        told = "; ".join(f"{one.encoder} against {one.reference}: {one.why}" for one in facts.mismatches)
        yield "What was to be matched is not", f"{told}. A difference may come from that."
    if not any(arm in ("sample_matched", "compute_matched") for _, _, arm in reading.pairs):
        yield (
            "The effort was not matched",
            "Nothing says that the encoders saw equally many films or took equally much computation; one that had "
            "more of it may be ahead for that reason.",
        )
    yield (
        "The intervals are about these patients only",
        f"They say how much the numbers would move with other test patients of the same kind ({facts.repetitions:,} "
        f"resamples of the patients), {spread_words(reading)}.",
    )
    yield (
        "One collection of films",
        "Other hospitals, scanners and habits of reporting may give another answer. Nothing here was tried on films "
        "from elsewhere.",
    )
    yield (
        "Frozen encoders",
        "The encoders were not changed for the tasks: simple probes read their vectors. Training a whole network on "
        "the labels may change the order.",
    )
    yield from _of_the_data(facts, reading)
    yield (
        "No medical device",
        "A probe is a measuring instrument, not a diagnosis. Nothing here has been validated for use on patients.",
    )


def _of_the_data(facts: Facts, reading: Reading) -> Iterator[tuple[str, str]]:
    small = [row for row in reading.differences() if row.verdict == "too few patients" and row.reference != FLOOR]
    if small:
        tasks = ", ".join(dict.fromkeys(plain(row.task) for row in small))
        yield (
            "Too few patients for some questions",
            f"For {tasks}, at least one comparison is open: a difference that matters could be there and not be seen.",
        )
    narrow = [plain(task) for task in dict.fromkeys(row.task for row in reading.rows if MAY_BE_NARROW in row.note)]
    if narrow:
        yield (
            "Intervals that may be too narrow",
            f"For {', '.join(narrow)}, a class has so few test patients, at least somewhere, that resampling them "
            "tells too little of how far the score may lie from the truth.",
        )
    weak = [task for task in facts.tasks if task.sources.get("report", 0) > task.sources.get("expert", 0)]
    if weak:
        yield (
            "Labels taken from reports",
            f"{', '.join(plain(task.name) for task in weak)}: most labels were read out of reports by rules, with "
            "their mistakes; they blur all encoders alike, and so hide differences.",
        )
    strangers = [encoder.name for encoder in facts.encoders if encoder.other_films]
    if strangers:
        yield (
            "Encoders from elsewhere",
            f"{', '.join(strangers)}: pretrained on other films, which may have been of patients in the test set.",
        )
    taught = [encoder.name for encoder in facts.encoders if encoder.method == "supervised"]
    if taught:
        yield (
            "Encoders that know labels",
            f"{', '.join(taught)}: trained with labels. What few labels are worth is not measured where an encoder has "
            "seen all of them before.",
        )
    if facts.same_pixels_across_splits:
        yield (
            "Copies across splits",
            f"{facts.same_pixels_across_splits:,} films have a twin with the same pixels in another split: what was "
            "learned from one helps with the other.",
        )
    if facts.not_asked:
        yield (
            "Questions that could not be asked",
            "; ".join(f"{plain(name)}: {reason}" for name, reason in facts.not_asked.items()),
        )
