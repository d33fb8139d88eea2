"""Private folder → public folder: plan, write the shards that are not there yet, then publish the whole.

Running the same command again finishes what was interrupted; finished shards are not touched.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.atomic import is_leftover, published
from data_prep.config import ShardSettings
from data_prep.errors import DROPPED, ArchiveError, Reason
from data_prep.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.plan import Plan, PlannedShard, plan_shards
from data_prep.public_folder import check_apart, claim, is_shard_file, release
from data_prep.shard_format import (
    FORMAT_VERSION,
    INDEX_SCHEMA,
    REJECTS_SCHEMA,
    SPLITS,
    DatasetCard,
    FileCounts,
    ShardCard,
    Split,
)
from data_prep.shard_pool import write_shards
from data_prep.shard_writer import ShardTask, Unfinished, canonical_json, index_bytes
