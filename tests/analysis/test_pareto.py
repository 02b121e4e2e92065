"""The front, its picture and its page."""

import base64
import re

import cv2
import numpy as np
import pytest

from effvit_mm.analysis.pareto import draw, lower_is_better, pareto_front
from effvit_mm.analysis.provenance import provenance
from effvit_mm.analysis.sweep_page import MAX_WIDTH, findings, write_page


def row(value, macs, score):
    ms = macs / 1e7
    measured = dict(median_ms=ms, lower_quartile_ms=0.9 * ms, upper_quartile_ms=1.1 * ms, peak_memory_mb=None)
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
    ("metric", "lower"),
    [
        ("rmse", True),
        ("depth/abs_rel", True),
        ("depth/rmse_log", True),
        ("depth/log10", True),
        ("coco/bbox_mAP", False),
        ("mIoU", False),
    ],
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
    for words in ("a &lt;command&gt;", "4.00", "analytic", "measured", "1 thread"):
        assert words in page


def test_each_value_is_told_against_the_one_of_most_multiply_adds():
    told = findings([row(1.0, 4e9, 0.5), row(0.5, 2e9, 0.4)], "keep", "mIoU")
    assert told == [
        "keep 0.5 takes 50 % of the multiply-adds and 50 % of the time of keep 1; mIoU is 0.4 for 0.5 (-20.0 %), worse."
    ]


def test_a_time_whose_quartiles_overlap_is_called_noise():
    told = findings([row(1.0, 4e9, 0.5), row(0.9, 3.6e9, 0.5), row(0.5, 2e9, 0.5)], "keep", "mIoU")
    assert ["noise" in sentence for sentence in told] == [True, False]


@pytest.mark.parametrize(("score", "verdict"), [(0.6, "better"), (0.5, "the same"), (0.4, "worse")])
@pytest.mark.parametrize("metric", ["mIoU", "rmse"])
def test_of_an_error_less_is_better(score, verdict, metric):
    assert findings([row(1.0, 4e9, 0.5), row(0.5, 2e9, score)], "keep", metric)[0].endswith(f", {verdict}.")


def test_pictures_are_put_into_the_page_no_wider_than_a_screen(tmp_path):
    draw(ROWS, "keep", "mIoU", tmp_path / "pareto.png")
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((30, 3 * MAX_WIDTH, 3), np.uint8))
    pictures = {"keep 0.5": [tmp_path / "wide.png"], "keep 1": []}
    write_page(ROWS, "keep", "mIoU", tmp_path / "pareto.png", tmp_path / "index.html", "", pictures)
    page = (tmp_path / "index.html").read_text()
    assert re.findall("<h2>(.*)</h2>", page) == ["keep 0.5", "Made by"]
    embedded = base64.b64decode(re.search(r"image/jpeg;base64,([^\"]+)", page)[1])
    assert cv2.imdecode(np.frombuffer(embedded, np.uint8), cv2.IMREAD_COLOR).shape == (10, MAX_WIDTH, 3)
