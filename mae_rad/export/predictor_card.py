"""The card of a predictor folder: ``predictor.json`` for programs, ``README.md`` for people."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from data_prep.settings import Settings
from data_prep.shard_format.rare_values import MIN_PATIENTS
from data_prep.sharding.single_film import PreparationSettings
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.export.earlier_resnet import timm_settings_of
from mae_rad.export.encoder_card import size_in_words
from mae_rad.export.hub_metadata import front_matter
from mae_rad.heads import MulticlassSettings, RegressionSettings, TaskSettings
from mae_rad.heads.interface import Calibration


class Scope(Settings):
    """Body parts and views of the training films; predictions for others are not supported by data."""

    body_parts: dict[str, int]
    """Body part, as in the index → number of training films, 0 where fewer than MIN_PATIENTS patients have it; films
    without a recorded one are not counted."""
    views: dict[str, int]
    """View position → number of training films, counted in the same way."""
    answers: dict[str, dict[str, int]] = Field(default_factory=dict)
    """What the model answers → value → number of training films of which it is known."""


class PredictorCard(Settings):
    """Contents of ``predictor.json``."""

    format_version: Literal[1] = 1
    encoder: Annotated[AnyEncoderSettings, BeforeValidator(timm_settings_of)]
    tokens: int = Field(ge=1)
    """T, number of patches that the content of a film is scaled to."""
    task: TaskSettings
    labels: tuple[str, ...]
    calibration: dict[str, Calibration] = Field(default_factory=dict)
    """Label → (slope, offset) of slope × output + offset: its sigmoid is the probability of a label, its softmax
    that of a class; of a regression it is the number itself."""
    operating_points: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Name → label → lowest probability that counts as present."""
    scope: Scope
    film: PreparationSettings
    """Preparation of the films of the training shards; film files are prepared in the same way."""
    measured: dict[str, str] = Field(default_factory=dict)
    """Results of the final evaluation on test films, as text."""
    chance_warnings: dict[str, str] = Field(default_factory=dict)
    """Answer → why the test films do not show that it is better than chance; said beside every prediction."""
    provenance: dict[str, str | int | float | None]
    """Hashes, counts and versions; nothing identifying."""
    parameters: int = Field(ge=1)
    weights_sha256: str


PIPELINES = {
    "classification": "image-classification",
    "multiclass": "image-classification",
    "detection": "object-detection",
}
"""Task → its name on Hugging Face, which has none for numbers."""


def predictor_card(card: PredictorCard) -> str:
    """Write the card as Markdown, the text of ``README.md``."""
    head = front_matter("mae_rad", [card.encoder.model, card.task.name], pipeline=PIPELINES.get(card.task.name))
    return f"""{head}# Radiograph predictor: {", ".join(card.labels)}

A {card.task.name} head on a {card.encoder.model}, {card.parameters:,} parameters together.

## Use

```python
import mae_rad

predictor = mae_rad.load_predictor("this folder")
records = predictor.predict(["film.dcm"])  # one per film; DICOM, PNG or JPEG files, folders, 2-D arrays
for record in records:
    print(record.status, record.reason, record.findings, record.boxes, record.numbers, record.classes)
```

## Input

* Display values, dark to bright, one channel of uint16: the DICOM display pipeline applied, polarity corrected.
* The whole film, its longest side {card.film.max_side} pixels at most,
  {size_in_words(card.tokens, card.encoder.film_scale)}, each {card.encoder.patch} x {card.encoder.patch} pixels.

## What it was trained on

* Body parts (films): {_counts(card.scope.body_parts)}.
* Views (films): {_counts(card.scope.views)}.
{_trained_on(card.scope.answers)}
Predictions for other films are not supported by data; by default these films are refused.

## Measured on test films

{_table(card.measured)}
{_warned(card.chance_warnings)}
{_answers(card)}

## Origin

{_table({**dict(sorted(card.provenance.items())), "weights (SHA-256)": card.weights_sha256})}

## Limits

For research. Not a medical device: no part of it has been validated for diagnosis. Results on the films that it was
trained on need not hold for another hospital, scanner or body part. Measure before use.
"""


def _answers(card: PredictorCard) -> str:
    """What the answers of the model mean: thresholds of labels, units of numbers, or classes."""
    if isinstance(card.task, RegressionSettings):
        lines = [card.calibration.get(number.title, Calibration()) for number in card.task.numbers]
        numbers = "\n".join(
            f"| {number.title} | {number.unit or 'not stated'} | {line.offset:.4g} | {line.slope:.4g} |"
            for number, line in zip(card.task.numbers, lines, strict=True)
        )
        return f"""## Numbers

A prediction is one number per film, without an uncertainty of its own; the error above is that of all test films.

| number | unit | mean of the training films | standard deviation |
|---|---|---|---|
{numbers}"""
    if isinstance(card.task, MulticlassSettings):
        return f"""## Classes

{card.task.target.title}: {", ".join(card.labels)}. They exclude each other, and the most probable one
is the prediction. A film of none of them gets one of them all the same."""
    points = "\n".join(
        f"| {name} | {label} | {threshold:.4g} |"
        for name, thresholds in card.operating_points.items()
        for label, threshold in thresholds.items()
    )
    return f"""## Thresholds

Chosen on val films; a probability of at least the threshold counts as present.

| operating point | label | threshold |
|---|---|---|
{points}"""


def _trained_on(answers: Mapping[str, Mapping[str, int]]) -> str:
    """A line per answer with its training films; empty for a predictor that did not record them."""
    return "".join(f"* {answer} (films): {_counts(counts)}.\n" for answer, counts in answers.items())


def _warned(warnings: Mapping[str, str]) -> str:
    """Which answers are not shown to be better than chance; empty without any."""
    lines = "\n".join(f"* **{answer}: not shown to be better than chance**: {why}." for answer, why in warnings.items())
    return f"\n{lines}\n" if lines else ""


def _counts(counts: Mapping[str, int]) -> str:
    few = f"(of fewer than {MIN_PATIENTS} patients)"
    return ", ".join(f"{name} {count or few}" for name, count in sorted(counts.items())) or "none recorded"


def _table(rows: Mapping[str, object]) -> str:
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"| | |\n|---|---|\n{lines}"
