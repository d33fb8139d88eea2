"""Names of poolings: how the vector of a film is made of the tokens of an encoder, in one line of text.

    PARTS [of block N | of blocks N N …] [and R x R regions]

part        numbers per block           meaning
cls         D                           class token
mean        D x (1 + R x R regions)     mean of the patch tokens of the whole film, then of each region, row by row
deviation   D x (1 + R x R regions)     their standard deviation (divided by N), channel by channel

PARTS are joined by ``+``; ``cls_mean`` is the name of ``cls+mean``. Without blocks the tokens are those of the last
block. Regions divide the content box of the film; their numbers stand behind those of the whole film. A vector has the
blocks in ascending order, in each the parts in the order of the table. Examples: ``mean``;
``mean+deviation of blocks 3 6 9 12``; ``mean of block 12 and 2 x 2 regions``.

In a config the same may be a mapping: ``{parts: [mean, deviation], blocks: [3, 6, 9, 12], regions: 2}``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator

PARTS = ("cls", "mean", "deviation")
"""Parts of a vector, in the order of its channels."""

LAST_BLOCK_POOLS = ("cls", "mean", "cls_mean")
"""Poolings of class token and mean of the last block."""

MAX_REGIONS = 8
"""Largest number of regions along a side of the content box."""

_FORM = re.compile(
    r"(?P<parts>[a-z_]+(?:\+[a-z_]+)*)"
    r"(?: of blocks? (?P<blocks>\d+(?: \d+)*))?"
    r"(?: and (?P<rows>\d+) x (?P<columns>\d+) regions)?"
)
_EXAMPLE = "Write, for example, mean+deviation of blocks 3 6 9 12 and 2 x 2 regions."


class PoolingParts(NamedTuple):
    """Meaning of the name of a pooling.

    Attributes:
        parts: parts of every block, a subset of :data:`PARTS` in that order.
        blocks: numbers of the blocks, counted from 1, ascending; empty for the last block.
        regions: R, regions along each side of the content box; 1 for the whole film only.
    """

    parts: tuple[str, ...]
    blocks: tuple[int, ...] = ()
    regions: int = 1

    @property
    def name(self) -> str:
        """The name, the same for equal poolings."""
        parts = "+".join(self.parts)
        if not self.blocks and self.regions == 1 and self.parts == ("cls", "mean"):
            return "cls_mean"
        numbers = " ".join(map(str, self.blocks))
        blocks = f" of block{'s' if len(self.blocks) > 1 else ''} {numbers}" if self.blocks else ""
        regions = f" and {self.regions} x {self.regions} regions" if self.regions > 1 else ""
        return f"{parts}{blocks}{regions}"

    def width(self, dim: int, block_dims: Sequence[int] = ()) -> int:
        """Return the number of channels of the vector.

        Args:
            dim: D, channels of a token of the last block.
            block_dims: channels of a token of every block (default: D of all).
        """
        places = 1 + self.regions**2 if self.regions > 1 else 1
        of_blocks = [block_dims[block - 1] if block_dims else dim for block in self.blocks] or [dim]
        return sum(of_blocks) * sum(1 if part == "cls" else places for part in self.parts)


def parse_pooling(name: str) -> PoolingParts:
    """Parse the name of a pooling.

    Raises:
        ValueError: it is not of this form; a part, block or number of regions does not exist or occurs twice.
    """
    match = _FORM.fullmatch(" ".join(name.split()))
    if match is None:
        raise ValueError(f"{name!r} is not a pooling. {_EXAMPLE}")
    parts = [part for text in match["parts"].split("+") for part in (("cls", "mean") if text == "cls_mean" else [text])]
    if match["rows"] != match["columns"]:
        raise ValueError(f"{name!r} has regions of unequal number down and across. Write R x R regions.")
    return _checked(parts, [int(number) for number in (match["blocks"] or "").split()], int(match["rows"] or 1))


def pooling_name(value: object) -> object:
    """Return the name of a pooling that a config states as text or as a mapping; other values are returned unchanged.

    Raises:
        ValueError: as :func:`parse_pooling`, or a key of the mapping is unknown or its value of another kind.
    """
    if isinstance(value, str):
        return parse_pooling(value).name
    if not isinstance(value, Mapping):
        return value
    unknown = sorted(str(key) for key in value if key not in PoolingParts._fields)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} of a pooling. Its keys are {', '.join(PoolingParts._fields)}.")
    parts, blocks, regions = value.get("parts", ["mean"]), value.get("blocks") or [], value.get("regions", 1)
    numbers = [*blocks, regions] if isinstance(blocks, list | tuple) else [blocks]
    if not isinstance(parts, list | tuple) or any(type(number) is not int for number in numbers):
        raise ValueError(f"parts and blocks of a pooling are lists, regions is a number, not {dict(value)}. {_EXAMPLE}")
    return _checked([str(part) for part in parts], list(blocks), regions).name


FilmPool = Annotated[str, BeforeValidator(pooling_name)]
"""Name of a pooling."""


def check_blocks(pool: str, depth: int) -> None:
    """Check that an encoder has the blocks of a pooling.

    Args:
        pool: name of the pooling.
        depth: number of blocks of the encoder.

    Raises:
        ValueError: it lacks one.
    """
    for block in parse_pooling(pool).blocks:
        if block > depth:
            raise ValueError(f"{pool!r} names block {block} of {depth}. Name blocks from 1 to {depth}.")


def _checked(parts: list[str], blocks: list[int], regions: int) -> PoolingParts:
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ValueError(f"a pooling has no part {unknown[0] if unknown else ''!r}. Its parts are {', '.join(PARTS)}.")
    if len(set(parts)) < len(parts) or len(set(blocks)) < len(blocks):
        raise ValueError(f"a part or block occurs twice in {'+'.join(parts)} of {blocks}. Name each once.")
    if min(blocks, default=1) < 1:
        raise ValueError("blocks are counted from 1: there is no block 0 or below. Name blocks from 1.")
    if not 1 <= regions <= MAX_REGIONS:
        raise ValueError(f"{regions} x {regions} regions are not possible. Choose from 1 (none) to {MAX_REGIONS}.")
    if regions > 1 and set(parts) == {"cls"}:
        raise ValueError("regions divide the patches, and cls alone has none. Add mean or deviation.")
    return PoolingParts(tuple(part for part in PARTS if part in parts), tuple(sorted(blocks)), regions)
