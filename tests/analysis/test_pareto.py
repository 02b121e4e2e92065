"""The front, its picture and its page."""

import re

import pytest

from effvit_mm.analysis.pareto import draw, lower_is_better, pareto_front, write_page
from effvit_mm.analysis.provenance import provenance


def row(value, macs, score):
    measured = dict(median_ms=macs / 1e7, lower_quartile_ms=1.0, upper_quartile_ms=2.0, peak_memory_mb=None)
    about = dict(
        shape=[64, 96], batch=1, step="forward pass, eager", counted="model", provenance=provenance("measured")
    )
    return dict(value=value, macs=macs, metrics={"mIoU": score, "rmse": 1 - score}, **measured, **about)


ROWS = [row(1.0, 4e9, 0.5), row(0.7, 3e9, 0.5), row(0.5, 2e9, 0.3), row(0.4, 2e9, 0.4), row(0.3, 1e9, 0.1)]


def test_the_front_holds_what_no_other_beats():
    assert [found["value"] for found in pareto_front(ROWS, "macs", "mIoU")] == [0.3, 0.4, 0.7]


def test_of_errors_the_lower_are_better():
    assert [found["value"] for found in pareto_front(ROWS, "macs", "rmse")] == [0.3, 0.4, 0.7]


@pytest.mark.parametrize(
    ("metric", "lower"), [("rmse", True), ("depth/abs_rel", True), ("coco/bbox_mAP", False), ("mIoU", False)]
)
def test_errors_are_known_by_their_names(metric, lower):
    assert lower_is_better(metric) is lower


def test_the_page_needs_no_network_and_holds_every_figure(tmp_path):
    draw(ROWS, "keep", "mIoU", tmp_path / "pareto.png")
    write_page(ROWS, "keep", "mIoU", tmp_path / "pareto.png", tmp_path / "index.html", "a <command>")
    page = (tmp_path / "index.html").read_text()
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert page.count("<tr") == 1 + len(ROWS)
    assert page.count('class="front"') == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for words in ("a &lt;command&gt;", "4.00", "analytic", "measured", "1 threads"):
        assert words in page
