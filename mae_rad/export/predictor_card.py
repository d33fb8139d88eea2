"""What a predictor folder says of itself: ``predictor.json`` for programs, ``README.md`` for people."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from data_prep.settings import Settings
from data_prep.sharding.single_film import Preparation
from mae_rad.encoders.resnet import ResNetSettings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.heads import TaskSettings
from mae_rad.heads.interface import Line


class Scope(Settings):
    """What training has shown; the answer for anything else is a guess."""

    body_parts: dict[str, int]
    """Body part → training films, as the index names them; films that tell none are not counted."""
    views: dict[str, int]


class PredictorCard(Settings):
    """What ``predictor.json`` says."""

    format_version: Literal[1] = 1
    encoder: EncoderSettings | ResNetSettings
    tokens: int = Field(ge=1)
    """T, patches that the content of a film is scaled to."""
    task: TaskSettings
    labels: tuple[str, ...]
    calibration: dict[str, Line] = Field(default_factory=dict)
    """Label → (slope, offset): its probability is the sigmoid of slope × logit + offset."""
    operating_points: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Name → label → threshold on the probability, from which on it counts as present."""
    scope: Scope
    film: Preparation
    """How the films of the training shards had been prepared; a film from elsewhere is prepared alike."""
    measured: dict[str, str] = Field(default_factory=dict)
    """What the final judgement on test films found, in words."""
    provenance: dict[str, str | int | float | None]
    """Hashes, counts and versions; nothing identifying."""
    parameters: int = Field(ge=1)
    weights_sha256: str


def predictor_card(card: PredictorCard) -> str:
    """The card as Markdown."""
    points = "\n".join(
        f"| {name} | {label} | {threshold:.4g} |"
        for name, thresholds in card.operating_points.items()
        for label, threshold in thresholds.items()
    )
    return f"""# Radiograph predictor: {", ".join(card.labels)}

A {card.task.name} head on a {card.encoder.model}, {card.parameters:,} parameters together.

## Use

```python
from pathlib import Path
from mae_rad.export.predictor_folder import load_predictor

predictor = load_predictor(Path("this folder"))
prediction = predictor.predict(patches)  # mae_rad.data.batch.Patches of whole films, mae_rad.data.views.whole_film
```

## Input

* Display values, dark to bright, one channel of uint16: the DICOM display pipeline applied, polarity corrected.
* The whole film, its longest side {card.film.max_side} pixels at most, scaled so that its content holds about
  {card.tokens} patches of {card.encoder.patch} x {card.encoder.patch} pixels.

## What it was trained on

* Body parts (films): {_counts(card.scope.body_parts)}.
* Views (films): {_counts(card.scope.views)}.

For other films it gives numbers, too; they mean nothing.

## Measured on test films

{_table(card.measured)}

## Thresholds

Chosen on val films; a probability from the threshold on counts as present.

| operating point | label | threshold |
|---|---|---|
{points}

## Origin

{_table({**dict(sorted(card.provenance.items())), "weights (SHA-256)": card.weights_sha256})}

## Limits

For research. Not a medical device: no part of it has been validated for diagnosis. What holds for the films that it was
trained on need not hold for another hospital, scanner or body part. Measure before use.
"""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none told"


def _table(rows: Mapping[str, object]) -> str:
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"| | |\n|---|---|\n{lines}"
