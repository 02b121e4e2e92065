"""Depth as pictures."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from effvit_mm.depth import DepthVisualizer, color_depth, draw_depth, drawing, read_depth


def test_what_was_not_measured_is_black_and_nothing_else_is():
    colors = color_depth(np.array([[0.0, np.nan, 0.5, 9.5, 20.0]]), far=10.0)
    assert (colors.sum(-1) == 0).tolist() == [[True, True, False, False, False]]


def test_near_is_red_and_far_is_blue():
    near, far = color_depth(np.array([[0.8, 9.0]]), far=10.0)[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_both_maps_are_drawn_beside_the_picture_with_one_bar():
    picture = np.full((60, 80, 3), 90, np.uint8)
    truth, predicted = np.full((60, 80), 3.1), np.full((30, 40), 5.9)
    drawing = draw_depth(picture, dict(truth=truth, prediction=predicted))
    height = drawing.shape[0] - 60
    panels = [drawing[height:, 80 * i : 80 * (i + 1)] for i in range(3)]
    assert (panels[0] == picture).all()
    assert (panels[1] == color_depth(truth, 6.0)).all()
    assert (panels[2] == color_depth(np.full((60, 80), 5.9), 6.0)).all()
    assert drawing.shape[1] > 3 * 80


def test_the_bar_runs_from_far_at_its_top_to_near_at_its_bottom():
    drawing = draw_depth(np.zeros((60, 80, 3), np.uint8), {}, far=8.0)
    bar = drawing[-60:, 80 + 10]
    assert (bar[0] == color_depth(np.array([[8.0]]), 8.0)[0, 0]).all()
    assert (bar[30] == color_depth(np.array([[8.0 * 29 / 59]]), 8.0)[0, 0]).all()


@pytest.mark.parametrize("scale", [1000.0, 256.0])
def test_the_visualizer_writes_a_drawing_and_the_prediction_in_16_bits(tmp_path, scale):
    from mmseg.structures import SegDataSample

    sample = SegDataSample(pred_depth_map=PixelData(data=torch.full((1, 6, 8), 2.25)))
    picture = np.zeros((60, 80, 3), np.uint8)
    DepthVisualizer(png_scale=scale).add_datasample(
        "a", picture, sample, out_file=str(tmp_path / "a.png"), pred_score_thr=0.3
    )
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 2 * 80
    assert (read_depth(tmp_path / "a_depth.png", scale) == 2.25).all()


@pytest.mark.parametrize(("scale", "is_cut"), [(1000.0, True), (256.0, False)])
def test_depth_that_its_file_cannot_hold_is_cut_off_with_a_warning(tmp_path, monkeypatch, scale, is_cut):
    from mmseg.structures import SegDataSample

    said = []
    monkeypatch.setattr(drawing, "print_log", lambda message, *_: said.append(message))
    sample = SegDataSample(pred_depth_map=PixelData(data=torch.full((1, 6, 8), 79.0)))
    DepthVisualizer(png_scale=scale).add_datasample(
        "a", np.zeros((60, 80, 3), np.uint8), sample, out_file=str(tmp_path / "a.png")
    )
    assert len(said) == is_cut
    assert not is_cut or ("a_depth.png is cut off" in said[0] and "set visualizer.png_scale=256" in said[0])
    assert (read_depth(tmp_path / "a_depth.png", scale) == 79).all() != is_cut
