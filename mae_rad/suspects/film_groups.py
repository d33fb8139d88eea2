"""Group films that must not be divided between training and scoring: those of a patient, and those of equal pixels."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def film_groups(table: pa.Table) -> NDArray[np.int64]:
    """Number the groups: films of one patient, and all films of patients who share equal pixels, are in one.

    Args:
        table: of a ShardIndex, with the columns ``patient`` and ``pixels``.

    Returns:
        [films] number of the group.
    """
    patients, pixels = (_codes(table[name]) for name in ("patient", "pixels"))
    shape = int(patients.max(initial=-1)) + 1, int(pixels.max(initial=-1)) + 1
    nodes = sum(shape)
    links = coo_matrix((np.ones(len(patients), dtype=np.int8), (patients, shape[0] + pixels)), shape=(nodes, nodes))
    _, group = connected_components(links, directed=False)
    return np.asarray(group[patients], dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)
