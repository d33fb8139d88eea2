"""Decisions that a person has to take before the films are used: the first section of the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from data_prep.archive.reject_by_header import QUARANTINE
from data_prep.dataset_report.near_duplicates import ACROSS_PATIENTS, ACROSS_SPLITS
from data_prep.dataset_report.plain_words import Kind, explain_reason
from data_prep.dataset_report.quality import MAX_CLIPPED_FRACTION
from data_prep.dataset_report.report_content import ReportContent
from data_prep.errors import Reason
from data_prep.pages.html_page import percent
from data_prep.planning.settings import ShardRuntime
from data_prep.shard_format.rare_values import MIN_PATIENTS, find_rare_values

MAX_FRACTION_CLIPPED = 0.05
"""A larger fraction of clipped films has to be checked."""
MAX_FRACTION_DIFFERING = 0.01
"""A larger fraction of films of which the sources of a fact differ needs a decision."""
MAX_FRACTION_UNKNOWN = 0.1
"""A larger fraction of films without a body part or a view needs a decision."""


class Level(StrEnum):
    """Importance of a decision; the value is shown on the page."""

    STOP = "Stop"
    DECIDE = "Decide"
    CHECK = "Check"


@dataclass(frozen=True)
class Decision:
    """One decision that a person has to take.

    Attributes:
        level: importance.
        role: person who decides.
        section: anchor of the section with the details.
        title: observation.
        meaning: what the observation means.
        action: what can be done.
    """

    level: Level
    role: str
    section: str
    title: str
    meaning: str
    action: str


MANAGER, RADIOLOGIST, DATA_PROTECTION_OFFICER = "data manager", "radiologist", "data-protection officer"
RADIOLOGIST_AND_MANAGER = f"{RADIOLOGIST}, {MANAGER}"
_MISSING_TEXTS = {
    "body_part": (
        "body part",
        "Films without a body part are used for training, but cannot be balanced, filtered or evaluated by it.",
    ),
    "view": ("view", "Films without a view (such as frontal or lateral) cannot be filtered or evaluated by it."),
}


def list_decisions(content: ReportContent) -> list[Decision]:
    """List the decisions for one report, the most important first."""
    levels = list(Level)
    decisions = [
        *_run_decisions(content),
        *_file_decisions(content),
        *_leak_decisions(content),
        *_privacy_decisions(content),
        *_missing_value_decisions(content),
        *_source_decisions(content),
        *_quality_decisions(content),
    ]
    return sorted(decisions, key=lambda decision: levels.index(decision.level))


def _run_decisions(content: ReportContent) -> Iterator[Decision]:
    if not content.folder.complete:
        yield Decision(
            Level.STOP, MANAGER, "counts",
            "The run is unfinished",
            f"Sharding was interrupted or is still running. This page describes the {content.folder.shards:,} finished"
            " shards. Files that are left out because of their header are counted at the end of the run.",
            "Run the same shard command again; it continues after the finished shards.",
        )  # fmt: skip
    elif not content.films:
        yield Decision(
            Level.STOP, MANAGER, "counts",
            "No film was written",
            "Every file was left out, or the archive was empty.",
            "See the reasons below. The usual causes are a wrong folder, or a rule that leaves out all films.",
        )  # fmt: skip


def _file_decisions(content: ReportContent) -> Iterator[Decision]:
    limit = ShardRuntime().max_reject_fraction
    unusable, repeated = (
        sum(count for reason, count in content.reject_reasons.items() if explain_reason(reason).kind is kind)
        for kind in (Kind.UNUSABLE, Kind.TWICE)
    )
    if unusable > limit * (radiographs := content.folder.written() + unusable + repeated):
        yield Decision(
            Level.DECIDE, MANAGER, "counts",
            f"{percent(unusable / radiographs)} of the image files could not be used",
            f"{_count(unusable, 'file')} that should hold a film could not be used, more than the usual"
            f" {percent(limit)}. The missing films may have a common cause, such as one device, department or decade,"
            " and bias the data.",
            "See the reasons below, correct the export, and scan again.",
        )  # fmt: skip
    stopped = sum(content.reject_reasons.get(reason, 0) for reason in (Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT))
    if stopped:
        yield Decision(
            Level.DECIDE, MANAGER, "counts",
            f"{_count(stopped, 'file')} stopped the decoder",
            "The decoder crashed twice or took too long on these files. They are not among the films.",
            "Leave them out, or try them again with more memory or time: mae-rad append --reason.",
        )  # fmt: skip
    if conflicts := content.reject_reasons.get(Reason.UID_CONFLICT, 0):
        yield Decision(
            Level.DECIDE, MANAGER, "counts",
            f"{_count(conflicts, 'file')} in conflict with another file",
            "Files with the same identifier show different pictures. One may be filed under the wrong patient.",
            "Correct the archive; until then none of these files is used.",
        )  # fmt: skip


def _leak_decisions(content: ReportContent) -> Iterator[Decision]:
    if content.split_leaks.patients or content.split_leaks.studies:
        yield Decision(
            Level.STOP, MANAGER, "splits",
            "Patients or studies are in more than one split",
            f"{_count(content.split_leaks.patients, 'patient')}, studies: {content.split_leaks.studies:,}. The final"
            " test would evaluate the model on patients of its training data; results would be too good.",
            "Do not train. Run mae-rad verify, then shard again.",
        )  # fmt: skip
    if pairs := content.count_same_pictures(ACROSS_SPLITS):
        yield Decision(
            Level.DECIDE, RADIOLOGIST_AND_MANAGER, "near-duplicates",
            f"{_count(pairs, 'pair')} of films in two splits show the same picture",
            "The archive may hold the same film under two patients. Then it is used for both training and testing.",
            "Check the pairs. If they are of one person, assign both patient numbers to one split (splits.table).",
        )  # fmt: skip
    if pairs := content.count_same_pictures(ACROSS_PATIENTS):
        yield Decision(
            Level.CHECK, RADIOLOGIST, "near-duplicates",
            f"{_count(pairs, 'pair')} of films under different patients show the same picture",
            "A film may have been filed twice. Films of unknown patients count as films of different patients.",
            "Check the pairs.",
        )  # fmt: skip


def _privacy_decisions(content: ReportContent) -> Iterator[Decision]:
    quarantined = {
        reason: content.reject_reasons[reason] for reason in sorted(QUARANTINE) if reason in content.reject_reasons
    }
    if quarantined:
        reasons = ", ".join(f"{explain_reason(reason).name} ({count:,})" for reason, count in quarantined.items())
        yield Decision(
            Level.DECIDE, DATA_PROTECTION_OFFICER, "counts",
            f"{_count(sum(quarantined.values()), 'film')} in quarantine: a name may be in the picture",
            f"Left out of the shards: {reasons}.",
            "Leave them out (nothing to do), or have a person check every film before a rule is set to keep.",
        )  # fmt: skip
    if content.films and (rare := find_rare_values(content.folder.index)).patients:
        yield Decision(
            Level.DECIDE, DATA_PROTECTION_OFFICER, "privacy",
            f"{_count(rare.patients, 'patient')} may be recognised by rare values",
            f"They have a body part, sex, age or manufacturer that fewer than {MIN_PATIENTS} patients have;"
            f" {rare.alone:,} are alone with their combination of these. Whoever knows such a person may find the row"
            " of the index.",
            "Give the shards only to those who may see them, or leave these films out of the archive and shard again.",
        )  # fmt: skip
    if content.films:
        yield Decision(
            Level.DECIDE, DATA_PROTECTION_OFFICER, "privacy",
            "The pictures have not been searched for burned-in text",
            "Header entries are removed; the pixels are not changed. A device may write a name or a date into the film,"
            " usually near an edge.",
            "Have a person approve the border sheets of every device (mae-rad borders), then run mae-rad audit.",
        )  # fmt: skip


def _missing_value_decisions(content: ReportContent) -> Iterator[Decision]:
    for column, (name, consequence) in _MISSING_TEXTS.items():
        if missing := content.count_missing(column):
            yield Decision(
                Level.DECIDE if missing > MAX_FRACTION_UNKNOWN * content.films else Level.CHECK,
                RADIOLOGIST_AND_MANAGER,
                "words" if content.private else "census",
                f"{percent(missing / content.films)} of the films state no known {name}",
                f"{_count(missing, 'film')} without a header entry, or with a spelling on no list. {consequence}",
                "Give the terms of the archive (unmapped.csv in the private folder) as facts.words, or values by path"
                " or table. Then scan and shard again.",
            )  # fmt: skip
    if content.census.unknown:
        yield Decision(
            Level.CHECK, MANAGER, "splits",
            f"The patient of {percent(content.census.unknown / content.films)} of the films is not known",
            f"{_count(content.census.unknown, 'film')} without a patient number. Each study counts as one patient, is"
            " used for training, and is never used for validation or testing.",
            "If the archive has the patient numbers, export them, or extract them from paths with image_pattern.",
        )  # fmt: skip


def _source_decisions(content: ReportContent) -> Iterator[Decision]:
    if content.private is None:
        return
    for fact, count in content.private.differing.items():
        yield Decision(
            Level.DECIDE if count > MAX_FRACTION_DIFFERING * content.private.census.films else Level.CHECK,
            RADIOLOGIST_AND_MANAGER, "sources",
            f"Header, folder or table state another {fact.replace('_', ' ')} for {_count(count, 'film')}",
            "Headers often keep the setting of an earlier film, and folders hold films that were misfiled.",
            "See which source is right, set facts.order, and confirm single films in a table (facts.corrections). Then"
            " scan and shard again.",
        )  # fmt: skip


def _quality_decisions(content: ReportContent) -> Iterator[Decision]:
    if content.polarity_suspects is not None and len(content.polarity_suspects):
        yield Decision(
            Level.DECIDE, RADIOLOGIST, "quality",
            f"{_count(len(content.polarity_suspects), 'film')} may have black and white exchanged",
            "Estimated from the picture, not from the header. Nothing was corrected, and not all are content.",
            "Check these films. Wrong ones can be left out of training by the column polarity_suspect.",
        )  # fmt: skip
    for end, fraction in content.clipped_fractions.items():
        films = int((fraction > MAX_CLIPPED_FRACTION).sum()) if fraction is not None else 0
        if films > MAX_FRACTION_CLIPPED * content.films:
            yield Decision(
                Level.CHECK, RADIOLOGIST, "quality",
                f"{percent(films / content.films)} of the films are clipped to {end}",
                f"Over {percent(MAX_CLIPPED_FRACTION)} of their content is pure {end}, because of a wrong window or a"
                " saturated detector.",
                "Check the devices of these films. The stored values are not clipped; another window can be used.",
            )  # fmt: skip


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
