"""What a person has to decide or look at before the films are used: the top of the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from data_prep.archive.reject_rules import QUARANTINE
from data_prep.dataset_report.near_duplicates import ACROSS_PATIENTS, ACROSS_SPLITS
from data_prep.dataset_report.plain_words import Kind, reason_words
from data_prep.dataset_report.quality import CLIPPED
from data_prep.dataset_report.report_content import Findings
from data_prep.errors import Reason
from data_prep.pages.html_page import percent
from data_prep.planning.settings import ShardRuntime

MANY_CLIPPED = 0.05
"""Part of the films that may be clipped before somebody is asked to look."""
MANY_UNKNOWN = 0.1
"""Part of the films that may lack a body part or a view before somebody is asked to decide."""


class Level(StrEnum):
    """How much a decision matters; the words stand on the page."""

    STOP = "Stop"
    DECIDE = "Decide"
    LOOK = "Look"


@dataclass(frozen=True)
class Decision:
    """One thing that the software cannot settle.

    Attributes:
        who: whose decision it is.
        see: anchor of the section with the details.
        title: what was found.
        why: what it means, in plain words.
        what: what can be done.
    """

    level: Level
    who: str
    see: str
    title: str
    why: str
    what: str


MANAGER, RADIOLOGIST, PROTECTION = "data manager", "radiologist", "data-protection officer"
BOTH = f"{RADIOLOGIST}, {MANAGER}"
_WORDS = {
    "body_part": ("body part", "Films without a body part train, but cannot be balanced, filtered or examined by it."),
    "view": ("view", "Films without a view (such as frontal or lateral) cannot be told apart by it."),
}


def decisions(found: Findings) -> list[Decision]:
    """The most serious first."""
    order = list(Level)
    every = [*_run(found), *_files(found), *_leaks(found), *_privacy(found), *_words(found), *_quality(found)]
    return sorted(every, key=lambda one: order.index(one.level))


def _run(found: Findings) -> Iterator[Decision]:
    if not found.folder.complete:
        yield Decision(
            Level.STOP, MANAGER, "ledger",
            "The run is unfinished",
            f"Sharding was interrupted, or is still at work. This page shows what the {found.folder.shards:,} shards"
            " hold that are there. Files that were left out by their header are counted at the end only.",
            "Run the same shard command again; it goes on where it stopped.",
        )  # fmt: skip
    elif not found.films:
        yield Decision(
            Level.STOP, MANAGER, "ledger",
            "Not one film was written",
            "Every file was left out, or the archive was empty.",
            "See the reasons below. Most often the wrong folder was scanned, or a rule keeps all films out.",
        )  # fmt: skip


def _files(found: Findings) -> Iterator[Decision]:
    limit = ShardRuntime().max_reject_fraction
    unusable, twice = (
        sum(count for reason, count in found.reasons.items() if reason_words(reason).kind is kind)
        for kind in (Kind.UNUSABLE, Kind.TWICE)
    )
    if unusable > limit * (radiographs := found.folder.written() + unusable + twice):
        yield Decision(
            Level.DECIDE, MANAGER, "ledger",
            f"{percent(unusable / radiographs)} of the image files could not be used",
            f"{_count(unusable, 'file')} that should hold a film could not be used, more than the usual"
            f" {percent(limit)}. What is missing may be missing for a reason: one old device, one department, one"
            " decade.",
            "Look at the reasons below, mend the export, and scan again.",
        )  # fmt: skip
    stopped = sum(found.reasons.get(reason, 0) for reason in (Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT))
    if stopped:
        yield Decision(
            Level.DECIDE, MANAGER, "ledger",
            f"{_count(stopped, 'file')} set aside after stopping the decoder",
            "Reading them ended the program twice or took too long. They are not among the films.",
            "Leave them out, or try again with more memory or time: data_prep append --reason.",
        )  # fmt: skip
    if conflicts := found.reasons.get(Reason.UID_CONFLICT, 0):
        yield Decision(
            Level.DECIDE, MANAGER, "ledger",
            f"{_count(conflicts, 'file')} in contradiction with another",
            "Files with one identification show different pictures. One may be filed under the wrong patient.",
            "Clear it up in the archive; until then none of them is taken.",
        )  # fmt: skip


def _leaks(found: Findings) -> Iterator[Decision]:
    if found.leaks.patients or found.leaks.studies:
        yield Decision(
            Level.STOP, MANAGER, "splits",
            "Patients or studies stand in more than one split",
            f"{_count(found.leaks.patients, 'patient')}, studies: {found.leaks.studies:,}. The final examination would"
            " test the computer on people it has learnt from; results would look too good.",
            "Do not train. Run data_prep verify, then shard again.",
        )  # fmt: skip
    if pairs := found.alike(ACROSS_SPLITS):
        yield Decision(
            Level.DECIDE, BOTH, "alike",
            f"{_count(pairs, 'pair')} of films in two splits show the same picture",
            "The same film may be in the archive under two patients. Then it would be learnt from and examined with.",
            "Look at the pairs. Where it is the same person, give both numbers one split (splits.table).",
        )  # fmt: skip
    if pairs := found.alike(ACROSS_PATIENTS):
        yield Decision(
            Level.LOOK, RADIOLOGIST, "alike",
            f"{_count(pairs, 'pair')} of films under different patients show the same picture",
            "A film may have been filed twice. Films of unknown patients count as of different ones.",
            "Look at the pairs.",
        )  # fmt: skip


def _privacy(found: Findings) -> Iterator[Decision]:
    kept_out = {reason: found.reasons[reason] for reason in sorted(QUARANTINE) if reason in found.reasons}
    if kept_out:
        told = ", ".join(f"{reason_words(reason).name} ({count:,})" for reason, count in kept_out.items())
        yield Decision(
            Level.DECIDE, PROTECTION, "ledger",
            f"{_count(sum(kept_out.values()), 'film')} in quarantine: a name may be in the picture",
            f"Kept out of the shards: {told}.",
            "Leave them out (nothing to do), or have a person look at every one before a rule is set to keep.",
        )  # fmt: skip
    if found.films:
        yield Decision(
            Level.DECIDE, PROTECTION, "privacy",
            "Text written into the pictures has not been searched for",
            "Header entries are removed; the pixels are not cleaned. A device may write a name or a date into the film,"
            " mostly near an edge.",
            "Have the border sheets of every device signed off (data_prep borders), then run data_prep audit.",
        )  # fmt: skip


def _words(found: Findings) -> Iterator[Decision]:
    for column, (what, why) in _WORDS.items():
        if missing := found.missing(column):
            yield Decision(
                Level.DECIDE if missing > MANY_UNKNOWN * found.films else Level.LOOK, BOTH,
                "words" if found.private else "census",
                f"{percent(missing / found.films)} of the films state no known {what}",
                f"{_count(missing, 'film')}: no header, an empty one, or a spelling that is on no list. {why}",
                "Add the archive's words (unmapped.csv in the private folder) to the list; what no header tells, a path"
                " or a table may. Then scan and shard again.",
            )  # fmt: skip
    if found.census.unknown:
        yield Decision(
            Level.LOOK, MANAGER, "splits",
            f"The patient of {percent(found.census.unknown / found.films)} of the films is not known",
            f"{_count(found.census.unknown, 'film')} without a patient number. Each study counts as a patient,"
            " trains, and is never used for an examination.",
            "If the archive knows the patients, export their numbers, or name them by image_pattern.",
        )  # fmt: skip


def _quality(found: Findings) -> Iterator[Decision]:
    if found.suspects is not None and len(found.suspects):
        yield Decision(
            Level.DECIDE, RADIOLOGIST, "quality",
            f"{_count(len(found.suspects), 'film')} may have black and white exchanged",
            "By their picture, not by their header. Nothing was corrected; films without a mark are not proven right.",
            "Look at them. Wrong ones can be left out of training by the column polarity_suspect.",
        )  # fmt: skip
    for end, part in found.clipped.items():
        films = int((part > CLIPPED).sum()) if part is not None else 0
        if films > MANY_CLIPPED * found.films:
            yield Decision(
                Level.LOOK, RADIOLOGIST, "quality",
                f"{percent(films / found.films)} of the films are clipped to {end}",
                f"Over {percent(CLIPPED)} of their content is pure {end}: a wrong window, or a saturated detector.",
                "Look at the devices concerned. The stored values are not clipped; another window can be used.",
            )  # fmt: skip


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
