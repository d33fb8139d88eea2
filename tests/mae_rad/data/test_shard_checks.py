"""Shards that a copy left short are refused before a training begins."""

from pathlib import Path

import pytest

from mae_rad.data.shard_checks import check_shards_complete
from mae_rad.errors import ShardFormatError
from tests.builders.shard_builder import film, noise, write_public


def test_a_shard_that_is_short_or_gone_is_refused(tmp_path: Path) -> None:
    public = write_public(tmp_path / "public", [film(f"f{number}", noise(64, 64)) for number in range(3)])
    check_shards_complete([public])
    shard = public / "train-000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardFormatError, match=r"1 shards are missing or shorter .* such as train-000000.tar"):
        check_shards_complete([public])
    shard.unlink()
    with pytest.raises(ShardFormatError, match="1 shards are missing"):
        check_shards_complete([public])
