"""A sweep: one evaluation a budget, kept, and refused before it starts where it cannot be."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from effvit_mm.analysis.latency import Setting
from effvit_mm.backbones import AnchorFormer
from effvit_mm.engine import budget_sweep
from effvit_mm.errors import BadInputError

CONFIG = """
custom_imports = dict(imports=["effvit_mm"])
model = dict(
    type="Whole",
    backbone=dict(type="AnchorFormer", variant="t", depths=(1, 1, 1, 1), num_anchors=5),
)
"""
ORIGIN = dict(figures="measured", torch="2", date="2026-01-01", device="cpu", device_name="x", dtype="f", threads=1)
SETTING = Setting(shape=(64, 96), warmup=0, repeats=1)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A config, a checkpoint for each of two budgets, and an evaluation that counts its calls."""
    (tmp_path / "small.py").write_text(CONFIG)
    for anchors in (5, 7):
        weights = AnchorFormer(variant="t", depths=(1, 1, 1, 1), num_anchors=anchors).state_dict()
        torch.save({f"backbone.{name}": value for name, value in weights.items()}, tmp_path / f"{anchors}.pth")
    calls = []

    def evaluate(config, checkpoint, *, work_dir):
        calls.append(checkpoint.name)
        return {"mIoU": 0.1 * len(calls), "names": "none"}

    def compare(names, setting):
        calls.append("measured")
        row = dict(name="small", counted="model", macs=10, median_ms=1.0, lower_quartile_ms=1.0, upper_quartile_ms=1.0)
        about = dict(shape=[64, 96], batch=1, step="forward pass", provenance=dict(ORIGIN))
        return [{**row, **about, "peak_memory_mb": 3.0} for _ in names]

    monkeypatch.setattr(budget_sweep, "evaluate", evaluate)
    monkeypatch.setattr(budget_sweep, "compare", compare)
    return tmp_path, calls


def run(folder, checkpoints=(5, 7), values=(5, 7), argument="num_anchors", **options):
    files = [folder / f"{anchors}.pth" for anchors in checkpoints]
    return budget_sweep.sweep(folder / "small.py", files, argument, values, SETTING, **options)


def test_every_budget_is_a_row_with_its_metric_and_cost(place):
    folder, calls = place
    report = run(folder)
    assert calls == ["5.pth", "7.pth", "measured"]
    rows = json.loads((report / "sweep.json").read_text())["rows"]
    assert [(row["value"], row["metrics"]) for row in rows] == [(5, {"mIoU": 0.1}), (7, {"mIoU": 0.2})]
    assert len((report / "sweep.csv").read_text().splitlines()) == 3
    assert {"pareto.png", "index.html"} <= {file.name for file in report.iterdir()}
    assert "num_anchors=7" in (report / "num_anchors_7/small.py").read_text()


def test_a_sweep_started_again_evaluates_and_measures_nothing_twice(place):
    folder, calls = place
    run(folder)
    run(folder)
    assert calls == ["5.pth", "7.pth", "measured"]


def test_every_budget_has_a_visualizer_of_its_own(place):
    folder, _ = place
    with (folder / "small.py").open("a") as file:
        file.write("visualizer = dict(type='Visualizer', name='visualizer')\n")
    report = run(folder)
    names = [Config.fromfile(report / f"num_anchors_{value}/small.py").visualizer.name for value in (5, 7)]
    assert names == ["num_anchors_5", "num_anchors_7"]


def test_an_interrupted_sweep_goes_on_behind_its_last_evaluation(place, monkeypatch):
    folder, calls = place
    finished = budget_sweep.evaluate

    def killed_at_the_second(config, checkpoint, *, work_dir):
        if calls:
            raise KeyboardInterrupt
        return finished(config, checkpoint, work_dir=work_dir)

    monkeypatch.setattr(budget_sweep, "evaluate", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    monkeypatch.setattr(budget_sweep, "evaluate", finished)
    run(folder)
    assert calls == ["5.pth", "7.pth", "measured"]


def test_another_checkpoint_of_the_same_name_is_evaluated_anew(place):
    folder, calls = place
    run(folder)
    weights = torch.load(folder / "7.pth", weights_only=True)
    torch.save({"state_dict": weights, "meta": {}}, folder / "7.pth")
    run(folder)
    assert calls == ["5.pth", "7.pth", "measured", "7.pth"]


def test_what_an_evaluation_has_drawn_is_on_the_page(place, monkeypatch):
    folder, _ = place
    finished = budget_sweep.evaluate

    def drawing(config, checkpoint, *, work_dir):
        (work_dir / "predictions").mkdir(parents=True)
        for name in ("kept_tokens", "predictions/a", "predictions/a_depth", "predictions/b", "predictions/c"):
            cv2.imwrite(str(work_dir / f"{name}.png"), np.zeros((4, 5, 3), np.uint8))
        return finished(config, checkpoint, work_dir=work_dir)

    monkeypatch.setattr(budget_sweep, "evaluate", drawing)
    page = (run(folder) / "index.html").read_text()
    assert re.findall(r'alt="([^"]+)" src="data:image/jpeg', page) == ["kept_tokens", "a", "b"] * 2


def test_of_a_depth_estimators_figures_the_rmse_is_drawn():
    metrics = {"depth/delta1": 0.5, "depth/abs_rel": 0.2, "depth/rmse": 0.7}
    assert budget_sweep._chosen(None, metrics) == "depth/rmse"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints": (5,)}, r"num_anchors=7 needs weights of other shapes than .*5.pth holds: .*one checkpoint"),
        (
            {"argument": "keep"},
            r"AnchorFormer has no argument 'keep' to sweep, which tosa_deit_\* have; it has a budget of tokens in "
            r"--num-anchors \(num_anchors\)$",
        ),
        ({"checkpoints": (5, 7, 5)}, "3 checkpoints for the values"),
        ({"values": (5, 5)}, "each value once"),
        ({"values": (5, -7)}, "the backbone refuses num_anchors -7: .*num_anchors=-7"),
        ({"metric": "mIou"}, "metric 'mIou' is not what the evaluation gives; did you mean 'mIoU'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(place, options, message):
    with pytest.raises(BadInputError, match=message):
        run(place[0], **options)


def test_a_metric_that_the_task_lacks_costs_one_evaluation(place):
    folder, calls = place
    with pytest.raises(BadInputError, match="metric 'mIou'"):
        run(folder, metric="mIou")
    assert calls == ["5.pth"]
