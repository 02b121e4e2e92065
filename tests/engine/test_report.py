"""What a run leaves behind: figures in a file, pictures that can be read, and nothing half-written."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from effvit_mm.engine import RunReportHook
from effvit_mm.engine.report import names_of, write_json
from effvit_mm.errors import NotSavedError


@pytest.fixture
def sample(tmp_path):
    """A picture of 40 x 60 pixels with one object, found with confidence, and one doubtful find."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    file = tmp_path / "scene.png"
    cv2.imwrite(str(file), np.full((40, 60, 3), 90, np.uint8))
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[:, 10:30, 20:50] = 1
    box = torch.tensor([[20.0, 10.0, 50.0, 30.0]])
    data = DetDataSample(metainfo=dict(img_path=str(file), img_shape=(40, 60), ori_shape=(40, 60)))
    data.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([0]), masks=BitmapMasks(mask, 40, 60))
    data.pred_instances = InstanceData(
        bboxes=torch.cat([box, torch.tensor([[0.0, 0.0, 60.0, 40.0]])]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.2]),
        masks=torch.from_numpy(np.concatenate([mask, np.ones_like(mask)])).bool(),
    )
    return data


@pytest.fixture
def runner(tmp_path):
    from mmdet.visualization import DetLocalVisualizer

    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=("box", "sphere"), palette=[(255, 0, 0), (0, 255, 0)])
    return SimpleNamespace(work_dir=str(tmp_path / "run"), visualizer=visualizer)


def test_an_evaluation_leaves_figures_and_pictures(runner, sample, tmp_path, capsys):
    hook = RunReportHook(num_pictures=1)
    hook.after_val_iter(runner, 0, outputs=[sample, sample])
    hook.after_val_epoch(runner, {"coco/bbox_mAP_50": 0.25, "coco/bbox_mAP_l": -1.0, "odd": float("nan")})
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    assert figures == {"coco/bbox_mAP_50": 0.25, "coco/bbox_mAP_l": -1.0, "odd": None}
    shown = capsys.readouterr().out
    assert "0.2500" in shown
    # In line with what the end of a run names.
    assert f"figures      {tmp_path}/run/metrics.json" in shown
    assert f"pictures     {tmp_path}/run/predictions" in shown
    assert len(list((tmp_path / "run/predictions").iterdir())) == 1


def test_pictures_of_an_earlier_run_do_not_pass_for_this_ones(runner, sample, tmp_path):
    (tmp_path / "run/predictions").mkdir(parents=True)
    (tmp_path / "run/predictions/another.png").touch()
    hook = RunReportHook()
    hook.after_val_iter(runner, 0, outputs=[sample])
    hook.after_val_epoch(runner, {})
    names = [file.stem for file in (tmp_path / "run/predictions").iterdir()]
    assert len(names) == 1
    assert names != ["another"]


def test_a_figure_that_does_not_apply_is_explained_in_a_line(runner, capsys):
    hook = RunReportHook()
    hook.after_val_epoch(runner, {"coco/bbox_mAP_50": 0.25})
    assert "does not apply" not in capsys.readouterr().out
    hook.after_val_epoch(runner, {"coco/bbox_mAP_50": 0.25, "coco/bbox_mAP_l": -1.0})
    assert "- does not apply: the data has no object of this kind" in capsys.readouterr().out


def test_an_evaluation_without_any_detection_says_so_in_words(runner, sample, capsys):
    hook = RunReportHook()
    empty = sample.clone()
    empty.pred_instances = sample.pred_instances[:0]
    hook.after_val_iter(runner, 0, outputs=[empty, empty])
    hook.after_val_epoch(runner, {})
    shown = capsys.readouterr().out
    assert "found no object in any picture" in shown
    assert "value" not in shown
    hook.after_val_iter(runner, 0, outputs=[empty, sample])
    hook.after_val_epoch(runner, {"coco/bbox_mAP": 0.0})
    assert "found no object" not in capsys.readouterr().out


def test_an_evaluator_that_only_writes_predictions_is_told_from_a_model_that_finds_nothing(runner, sample, capsys):
    hook = RunReportHook()
    hook.after_test_iter(runner, 0, outputs=[sample])
    hook.after_test_epoch(runner, {})
    assert "gave no figures" in capsys.readouterr().out


def drawn(runner, sample, tmp_path):
    hook = RunReportHook()
    hook.after_test_iter(runner, 0, outputs=[sample])
    hook.after_test_epoch(runner, {})
    return cv2.imread(str(tmp_path / "run/predictions/scene.png")).astype(int)


def test_pictures_are_the_same_whatever_was_drawn_at_random_before(runner, sample, tmp_path):
    np.random.seed(3)
    first = drawn(runner, sample, tmp_path)
    state = np.random.get_state()[1].copy()
    second = drawn(runner, sample, tmp_path)
    assert (first == second).all()
    assert (np.random.get_state()[1] == state).all()


def test_a_mask_is_seen_through(runner, sample, tmp_path):
    light = drawn(runner, sample, tmp_path)
    cv2.imwrite(sample.img_path, np.full((40, 60, 3), 200, np.uint8))
    change = np.abs(drawn(runner, sample, tmp_path) - light)[:, :480]
    inside, outside = change[230:238, 200:390], change[300:, 400:]
    assert np.median(outside) == 110
    assert 50 <= np.median(inside) <= 60
    assert runner.visualizer.alpha == 0.8


def test_small_pictures_are_enlarged_and_boxes_stay_on_their_objects(runner, sample, tmp_path):
    RunReportHook()._keep([sample])
    hook = RunReportHook()
    hook.after_test_iter(runner, 0, outputs=[sample])
    hook.after_test_epoch(runner, {})
    drawn = cv2.imread(str(tmp_path / "run/predictions/scene.png"))
    assert drawn.shape == (320, 960, 3)
    changed = np.abs(drawn.astype(int) - 90).sum(-1) > 30
    for side in (changed[:, :480], changed[:, 480:]):
        # Rows 10 to 30 and columns 20 to 50, eight times as large; labels are drawn inside.
        rows, columns = np.nonzero(side)
        assert 75 <= rows.min() <= 85
        assert 235 <= rows.max() <= 245
        assert 155 <= columns.min() <= 165
        assert 395 <= columns.max() <= 405


def test_drawing_leaves_the_sample_as_it_was(runner, sample):
    boxes = sample.pred_instances.bboxes.clone()
    hook = RunReportHook()
    hook.after_val_iter(runner, 0, outputs=[sample])
    hook.after_val_epoch(runner, {})
    torch.testing.assert_close(sample.pred_instances.bboxes, boxes)
    assert sample.pred_instances.masks.shape == (2, 40, 60)


def test_json_for_a_folder_that_cannot_be_made_is_not_saved(tmp_path):
    (tmp_path / "run").write_text("a file in its place")
    with pytest.raises(NotSavedError, match=r"metrics\.json was not saved"):
        write_json(tmp_path / "run" / "metrics.json", {"a": 1})


def test_json_that_two_processes_write_at_one_time_is_whole(tmp_path, monkeypatch):
    file = tmp_path / "few_pictures.json"
    replace = Path.replace

    def replace_behind_another(partial, target):
        monkeypatch.undo()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_json(file, {"a": 2})
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", replace_behind_another)
    write_json(file, {"a": 1})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["few_pictures.json"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    file = tmp_path / "metrics.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("pictures", "names"),
    [
        (["a/1.jpg", "b/2.jpg"], ["1", "2"]),
        (["a/1.jpg", "b/1.jpg"], ["a_1", "b_1"]),
        (["x/cam/1.jpg", "y/cam/1.jpg", "y/cam/2.jpg"], ["x_cam_1", "y_cam_1", "y_cam_2"]),
        (["/x/1.jpg", "/x/1.png"], ["0_1", "1_1"]),
        (["1.jpg", "1.jpg"], ["0_1", "1_1"]),
        ([], []),
    ],
)
def test_each_picture_has_the_shortest_name_that_tells_all_apart(pictures, names):
    assert names_of([Path(picture) for picture in pictures]) == names
