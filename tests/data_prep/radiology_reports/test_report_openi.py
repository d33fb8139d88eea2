"""The labels of real chest reports against their MeSH terms, as the benchmark ``report_labels`` counts them."""

from pathlib import Path

import pytest

from mae_rad.bench.sharding.report_labels import GROUPS, counts, labelled_reports

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "radiographs" / "reports-openi"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real reports are not beside the checkout"),
]


def test_fractures_and_foreign_objects_agree_with_the_mesh_terms() -> None:
    reports = list(labelled_reports(FOLDER))
    for name in GROUPS:
        both, ours, mesh = counts(reports, name)
        assert both / ours >= 0.85, f"{name}: precision {both}/{ours}"
        assert both / mesh >= (0.90 if name == "fracture" else 0.85), f"{name}: recall {both}/{mesh}"
