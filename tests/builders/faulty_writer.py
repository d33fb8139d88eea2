"""A shard writer whose decoder fails as the Image Comments of a film request."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import FilmReject, Reason
from data_prep.film import sample
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding import shard_writer
from data_prep.sharding.shard_writer import Unfinished

SEGFAULT, KILL, HANG, EAT, REJECT = (f"requested failure {number}" for number in range(5))


def faulty_decode(data: bytes, facts: Any) -> Any:
    for comment, fail in (
        (SEGFAULT, lambda: os.kill(os.getpid(), signal.SIGSEGV)),
        (KILL, lambda: os.kill(os.getpid(), signal.SIGKILL)),
        (HANG, lambda: time.sleep(600)),
        (EAT, lambda: np.ones(2**33)),
    ):
        if comment.encode() in data:
            fail()
    if REJECT.encode() in data:
        raise FilmReject(Reason.CORRUPT_PIXELS)
    return sample.decode_file(data, facts)


def write_faulty(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    """Write a shard with the faulty decoder; for worker processes, which are not used for anything else."""
    shard_writer.decode_file = faulty_decode
    return shard_writer.write_shard(task, public, watch)
