"""The labels of real chest reports against their MeSH terms, as the benchmark ``report_labels`` counts them."""

import pytest

from tests.benchmarks.sharding.report_labels import FOLDER, GROUPS, counts, judged

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real reports are not beside the checkout"),
]


def test_fractures_and_foreign_objects_agree_with_the_mesh_terms() -> None:
    reports = list(judged(FOLDER))
    for name in GROUPS:
        both, ours, mesh = counts(reports, name)
        assert both / ours >= 0.85, f"{name}: precision {both}/{ours}"
        assert both / mesh >= (0.90 if name == "fracture" else 0.85), f"{name}: recall {both}/{mesh}"
