"""How many films a pretraining will skip, from the index alone: T, patch, scale and budget decide it by size."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mae_rad.data.patch_layout import MAX_ENLARGEMENT, SPACING_ROUNDING
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError, UserError
from mae_rad.pretraining.settings import PretrainSettings


class UsableFilms(NamedTuple):
    """Films of a pretraining, counted by their sizes.

    Attributes:
        films: all of the run.
        needed: patches that a step draws of a film; 0 where it takes any film.
        short: films with fewer patches, which are skipped.
        no_spacing: films without a usable pixel spacing; 0 where the scale needs none.
        skips_no_spacing: whether these are skipped, too.
        reduced: films that are stored smaller than their source; 0 unless the scale is native.
        patch: patch side in pixels.
        median: median number of patches of a film at a fixed scale; 0 where T decides.
    """

    films: int
    needed: int
    short: int
    no_spacing: int
    skips_no_spacing: bool
    reduced: int
    patch: int
    median: int

    @property
    def skipped(self) -> int:
        """Films that are skipped."""
        return self.short + (self.no_spacing if self.skips_no_spacing else 0)

    def check(self) -> None:
        """Refuse settings under which no film is left.

        Raises:
            SettingsError: every film is skipped.
        """
        if self.films and self.skipped >= self.films:
            raise SettingsError(
                f"every film would be skipped: {self}. Lower objective.tokens, visible or predicted, or encoder.patch"
            )

    def __str__(self) -> str:
        """The counts in words."""
        parts = [f"{self.short:,} of {self.films:,} have fewer than the {self.needed:,} patches of a step: skipped"]
        if not self.needed:
            parts = [f"none of {self.films:,} is skipped for its size"]
        if self.median:
            parts.append(f"{self.median:,} patches of {self.patch} pixels a film (median)")
        if self.no_spacing:
            fate = "skipped" if self.skips_no_spacing else "scaled by their content"
            parts.append(f"{self.no_spacing:,} without a usable pixel spacing: {fate}")
        if self.reduced:
            parts.append(f"{self.reduced:,} are stored smaller than their source (max_side of the shards)")
        return "; ".join(parts)


def count_usable_films(index: pa.Table, settings: PretrainSettings) -> UsableFilms:
    """Count the films that a pretraining will skip.

    Args:
        index: columns rows, columns, source_rows, source_columns and pixel_spacing_mm.
        settings: of the run; of its stages, the one that draws most patches counts.
    """
    patch, scale = settings.encoder.patch, settings.encoder.film_scale
    sides = np.stack([index[name].to_numpy() for name in ("rows", "columns")]).astype(np.float64)
    magnification, known = np.full(sides.shape[1], 1.0), np.ones(sides.shape[1], dtype=np.bool_)
    if scale.mm_per_patch is not None:
        magnification = _spacing(index["pixel_spacing_mm"]) * patch / scale.mm_per_patch
        known = np.nan_to_num(magnification, nan=np.inf) <= MAX_ENLARGEMENT + SPACING_ROUNDING
    patches = np.prod(np.maximum(np.round(MAX_ENLARGEMENT * sides / patch), 1), axis=0)  # the most that T can ask for
    if scale.is_fixed:
        pixels = np.maximum(np.round(sides * np.where(known, magnification, 1)), 1)
        patches = np.where(known, np.prod(np.ceil(pixels / patch), axis=0), patches)
    needed = max(_needed(stage) for stage in settings.stages())
    counted = known if scale.skips else np.ones_like(known)
    sources = np.stack([index[name].to_numpy() for name in ("source_rows", "source_columns")])
    return UsableFilms(
        films=index.num_rows,
        needed=needed,
        short=int(((patches < needed) & counted).sum()),
        no_spacing=int((~known).sum()),
        skips_no_spacing=scale.skips,
        reduced=int((sources.max(axis=0) > sides.max(axis=0)).sum()) if scale.native else 0,
        patch=patch,
        median=int(np.median(patches[known])) if scale.is_fixed and known.any() else 0,
    )


def usable_films_text(settings: PretrainSettings) -> str:
    """Say how many films a run will skip, where its shards are there; reads their index only."""
    try:
        return str(count_usable_films(ShardIndex(settings.data.shards, **settings.data.source).table, settings))
    except UserError:
        return "how many are skipped is not known before data.shards is there"


def _needed(settings: PretrainSettings) -> int:
    """Patches of a film without which a step cannot draw its views."""
    views = [view for view in settings.objective.views().values() if not (view.padded or view.augmentation.crop)]
    return max((view.budgets[0] + view.budgets[1] for view in views if view.budgets[0] is not None), default=0)


def _spacing(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """[films] pixel spacing in mm, the geometric mean of both axes; NaN where it is not known."""
    spacings = column.combine_chunks()
    pairs = [
        pc.list_element(pc.if_else(pc.equal(pc.list_value_length(spacings), 2), spacings, None), axis)
        for axis in (0, 1)
    ]
    down, across = (pair.to_numpy(zero_copy_only=False).astype(np.float64) for pair in pairs)
    product = np.where((down > 0) & (across > 0), down * across, np.nan)
    return np.asarray(np.sqrt(product))
