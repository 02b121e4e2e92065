"""The metric on numbers worked out by hand, its masks, and what it keeps."""

import math

import cv2
import numpy as np
import pytest
import torch

from effvit_mm.depth import MonoDepthMetric, depth_errors, read_depth
from effvit_mm.errors import BadInputError


def sample(predicted, truth, img_path="scene/rgb_1.jpg"):
    """What the evaluator hands a metric."""
    return dict(
        img_path=img_path,
        pred_depth_map=dict(data=torch.as_tensor(predicted, dtype=torch.float32)[None]),
        gt_depth_map=dict(data=torch.as_tensor(truth, dtype=torch.float32)[None]),
    )


def figures(metric, *samples):
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


# predicted / true: 2/1, 2/2, 3/4, 12/10 -> ratios 2, 1, 4/3, 1.2 -> differences 1, 0, -1, 2
PREDICTED, TRUTH = [2.0, 2.0, 3.0, 12.0], [1.0, 2.0, 4.0, 10.0]
E = [math.log(2), 0.0, math.log(3 / 4), math.log(1.2)]
BY_HAND = dict(
    delta1=2 / 4,  # 1 and 1.2 are below 1.25
    delta2=3 / 4,  # 4/3 is below 1.5625
    delta3=3 / 4,  # 2 is above 1.953125
    abs_rel=(1 + 0 + 1 / 4 + 2 / 10) / 4,
    sq_rel=(1 + 0 + 1 / 4 + 4 / 10) / 4,
    rmse=math.sqrt((1 + 0 + 1 + 4) / 4),
    rmse_log=math.sqrt(sum(e**2 for e in E) / 4),
    log10=sum(abs(e) for e in E) / 4 / math.log(10),
    silog=100 * math.sqrt(sum(e**2 for e in E) / 4 - (sum(E) / 4) ** 2),
)


@pytest.mark.parametrize("name", BY_HAND)
def test_figure_of_four_pixels_is_what_its_formula_gives_by_hand(name):
    found = depth_errors(torch.tensor(PREDICTED), torch.tensor(TRUTH))
    assert found.keys() == BY_HAND.keys()
    assert found[name] == pytest.approx(BY_HAND[name], rel=1e-6)


def test_figures_are_averaged_over_pictures_and_not_over_pixels():
    # RMSE 1 over four pixels, RMSE 3 over one: the mean is 2, the pooled root would be sqrt(13 / 5).
    many = sample([[2, 2], [2, 2]], [[1, 1], [1, 1]])
    one = sample([[4, 4], [4, 4]], [[1, 0], [0, 0]])
    assert figures(MonoDepthMetric(), many, one)["depth/rmse"] == pytest.approx(2)


@pytest.mark.parametrize(("predicted", "counted_as"), [(50.0, 10.0), (-3.0, 1e-3), (math.nan, 1e-3), (math.inf, 10.0)])
def test_predictions_are_clamped_to_the_bounds(predicted, counted_as):
    found = figures(MonoDepthMetric(), sample([[predicted]], [[4.0]]))
    assert found["depth/rmse"] == pytest.approx(abs(counted_as - 4), rel=1e-5)


@pytest.mark.parametrize("true_depth", [0.0, 1e-3, 10.0, 12.0])
def test_true_depth_at_or_beyond_the_bounds_is_not_compared(true_depth):
    found = figures(MonoDepthMetric(), sample([[3.0, 5.0]], [[2.0, true_depth]]))
    assert found["depth/rmse"] == pytest.approx(1)


@pytest.mark.parametrize("corner", [(45, 41), (470, 600)])
@pytest.mark.parametrize("outside", [0, 1])
def test_eigen_crop_begins_and_ends_at_its_rows_and_columns(corner, outside):
    row, column = corner
    step = -1 if row == 45 else 1
    for place in [(row + outside * step, column), (row, column + outside * step)]:
        predicted, truth = np.full((480, 640), 2.0), np.full((480, 640), 2.0)
        predicted[place] = 3.0
        found = figures(MonoDepthMetric(eigen_crop=True), sample(predicted, truth))
        assert (found["depth/rmse"] == 0) == bool(outside), place


def test_eigen_crop_compares_as_many_pixels_as_published():
    predicted, truth = np.full((480, 640), 2.0), np.full((480, 640), 2.0)
    predicted[100, 100] = 3.0
    found = figures(MonoDepthMetric(eigen_crop=True), sample(predicted, truth))
    assert 1 / found["depth/rmse"] ** 2 == pytest.approx(238560)


def test_eigen_crop_refuses_a_picture_of_another_size_by_name():
    with pytest.raises(BadInputError, match=r"scene/rgb_1.jpg is 240 x 320 .* eigen_crop=False"):
        figures(MonoDepthMetric(eigen_crop=True), sample(np.ones((240, 320)), np.ones((240, 320))))


def test_what_is_kept_of_a_picture_does_not_grow_with_it():
    metric = MonoDepthMetric()
    metric.process(None, [sample(np.full((300, 400), 2.0), np.full((300, 400), 3.0))])
    (kept,) = metric.results
    assert len(kept) == 9
    assert all(type(value) is float for value in kept.values())


def test_a_picture_without_depth_is_left_out():
    found = figures(MonoDepthMetric(), sample([[3.0]], [[2.0]]), sample([[3.0]], [[0.0]]))
    assert found["depth/rmse"] == pytest.approx(1)


def test_no_picture_with_depth_is_an_error():
    with pytest.raises(BadInputError, match="none of 1 pictures"):
        figures(MonoDepthMetric(), sample([[3.0]], [[0.0]]))


def test_a_prediction_of_another_size_is_refused():
    with pytest.raises(BadInputError, match=r"\(2, 2\) .* \(1, 1\)"):
        figures(MonoDepthMetric(), sample(np.ones((2, 2)), np.ones((1, 1))))


def written(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))


def test_predictions_are_written_in_millimetres_below_the_path_of_their_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = MonoDepthMetric(output_dir="out")
    pictures = [f"data/{site}/cam0/0001.jpg" for site in ("site_a", "site_b")]
    pictures += [str(tmp_path / "data/site_c/0001.jpg"), "/elsewhere/site_a/cam0/0001.jpg", "../beside/0001.jpg"]
    figures(metric, *(sample([[number + 0.2346]], [[1.0]], picture) for number, picture in enumerate(pictures)))
    names = ["data/site_a/cam0/0001", "data/site_b/cam0/0001", "data/site_c/0001", "elsewhere/site_a/cam0/0001"]
    names.append(f"{tmp_path.parent}/beside/0001"[1:])
    assert written(tmp_path / "out") == sorted(f"{name}.png" for name in names)
    for number, name in enumerate(names):
        stored = cv2.imread(str(tmp_path / "out" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16
        assert stored.item() == 1000 * number + 235


def test_pictures_that_differ_in_their_suffix_alone_keep_a_file_each_in_every_evaluation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = MonoDepthMetric(output_dir="out")
    for _ in range(2):
        figures(metric, *(sample([[1.5]], [[1.0]], f"room/1.{suffix}") for suffix in ("jpg", "jpeg")))
    assert written(tmp_path / "out") == ["room/1.jpeg.png", "room/1.png"]


@pytest.mark.parametrize(("max_depth", "fits"), [(80.0, 256), (300.0, 218)])
def test_a_unit_in_which_16_bits_do_not_reach_far_enough_is_refused_with_one_that_does(tmp_path, max_depth, fits):
    options = dict(max_depth=max_depth, output_dir=str(tmp_path))
    with pytest.raises(BadInputError, match=rf"png_scale=1000 .* 65.535 m .*max_depth={max_depth:g} m; .*={fits},"):
        MonoDepthMetric(**options)
    figures(MonoDepthMetric(**options, png_scale=fits), sample([[max_depth]], [[3.0]], "far/1.jpg"))
    assert read_depth(next(tmp_path.rglob("1.png")), fits).item() == pytest.approx(max_depth)
    MonoDepthMetric(max_depth=max_depth)


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="min_depth=2"):
        MonoDepthMetric(min_depth=2, max_depth=1)
