"""Draws a report in German or English for every study of a synthetic archive, with known labels.

A report states the findings that are planted in any film of the study, some as uncertain, and misses a few; it denies
absent findings or does not mention them; it mentions the other side and removed implants, and repeats the clinical
question. Reports have a random generator of their own, so that films do not depend on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.phantom.random_draws import StudyDraw
from data_prep.phantom.report_sentences import BONES, FRACTURE, GRADED, KINDS, OBJECTS, PARTS, SIDES, WITHOUT_SIDE

UNCERTAIN_SHARE, MISSED_SHARE, DENIED_SHARE, OTHER_SIDE_SHARE, REMOVED_SHARE = 0.12, 0.06, 0.6, 0.25, 0.1
"""Probabilities: planted findings stated as uncertain, planted findings not mentioned, absent findings denied, studies
with a sentence on the other side, and studies without an implant that mention a removed one."""


@dataclass(frozen=True)
class StudyReport:
    """A report with its labels.

    Attributes:
        language: de or en.
        text: text of the report.
        labels: finding → present, absent or uncertain; findings that are not mentioned are left out.
    """

    language: str
    text: str
    labels: dict[str, str]


def draw_report(
    seed: int, patient: int, study: StudyDraw, fracture: bool, objects: Iterable[str], graded: Mapping[str, bool],
    german_form: str | None = None,
) -> StudyReport:  # fmt: skip
    """Draw the report of a study.

    Args:
        seed: seed of the archive.
        patient: number of the patient.
        study: draws of the study.
        fracture: whether a film of the study has a fracture.
        objects: kinds of the objects in the films of the study.
        graded: graded label that the films show → whether it is present.
        german_form: form with ``{part}``, ``{side}``, ``{question}``, ``{findings}``, for an archive of German reports.
    """
    draw = np.random.default_rng((seed, patient, 103, study.index))
    language = "de" if draw.random() < 0.5 or german_form else "en"
    has_side = study.body_part not in WITHOUT_SIDE
    replacements = {"bone": BONES[language][study.body_part]}
    if has_side:
        replacements["other"] = SIDES[language]["R" if study.side == "L" else "L"].capitalize()
        replacements["other"] = replacements["other"] if language == "de" else replacements["other"].lower()
    labels: dict[str, str] = {}
    value = _draw_value(draw, fracture)
    sentences = [_choose(draw, FRACTURE[language][value]).format(**replacements)]
    if value != "not_mentioned":
        labels["fracture"] = value
    if has_side and draw.random() < OTHER_SIDE_SHARE:
        sentences.append(_choose(draw, FRACTURE[language]["other_side"]).format(**replacements))
    sentences += _draw_object_sentences(draw, language, sorted(set(objects)), labels)
    question = _choose(draw, FRACTURE[language]["question"]).format(**replacements)
    order = draw.permutation(len(sentences))
    findings = " ".join(sentences[k] for k in order)
    graded_draw = np.random.default_rng((seed, patient, 104, study.index))
    for label, is_present in graded.items():
        value = _draw_value(graded_draw, is_present)
        if value != "not_mentioned":
            findings += " " + _choose(graded_draw, GRADED[language][label][value])
            labels[label] = value
    side = SIDES[language][study.side] if has_side else ""
    text = (german_form or _LAYOUT[language]).format(
        part=PARTS[language][study.body_part], side=f" {side}" if side else "", question=question, findings=findings
    )
    return StudyReport(language, text, labels)


def _draw_value(draw: np.random.Generator, is_present: bool) -> str:
    chance = draw.random()
    if not is_present:
        return "absent" if chance < DENIED_SHARE else "not_mentioned"
    if chance < UNCERTAIN_SHARE:
        return "uncertain"
    return "not_mentioned" if chance < UNCERTAIN_SHARE + MISSED_SHARE else "present"


def _draw_object_sentences(
    draw: np.random.Generator, language: str, kinds: list[str], labels: dict[str, str]
) -> list[str]:
    """Draw sentences about foreign objects, and add their labels to ``labels``."""
    sentences = []
    for kind in kinds:
        if draw.random() >= MISSED_SHARE:
            sentences.append(_choose(draw, OBJECTS[language][kind]))
            labels[KINDS[kind]] = "present"
    for denial, share in (("removed", REMOVED_SHARE), ("absent", 0.0 if kinds else DENIED_SHARE)):
        finding = KINDS[denial]
        if draw.random() < share and not any(KINDS[kind] == finding for kind in kinds):
            sentences.append(_choose(draw, OBJECTS[language][denial]))
            labels[finding] = "absent"
    return sentences


def _choose(draw: np.random.Generator, sentences: tuple[str, ...]) -> str:
    return sentences[int(draw.integers(len(sentences)))]


_LAYOUT = {
    "de": "Untersuchung: Röntgen {part}{side}\n\nKlinische Angaben: {question}\n\nBefund:\n{findings}\n",
    "en": "EXAMINATION: Radiographs of the{side} {part}\n\nINDICATION: {question}\n\nFINDINGS: {findings}\n",
}
