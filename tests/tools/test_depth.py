"""Depth as a user meets it: a run on toy scenes and its reports, a run on one's own folders, and what is refused."""

import shutil

import cv2
import numpy as np
import pytest

ANCHORFORMER = "configs/nyu/depth_anchorformer.py"
TRAIN = f"python tools/train.py {ANCHORFORMER}"
RUN = "depth_anchorformer"
# Eight scenes are two iterations of four.
SHORT = ("toy_scenes.num_train=8", "toy_scenes.num_val=3", "train_cfg.max_epochs=1", "train_cfg.val_interval=1")
FIGURES = {"delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"}
OWN = """
_base_ = "../configs/nyu/depth_anchorformer.py"

folder = dict(_delete_=True, type="DepthFolderDataset", data_root="own", depth_scale={scale}, max_depth=10.0)
steps = [dict(type="LoadImageFromFile"), dict(type="LoadDepth"), dict(type="PackSegInputs")]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**folder, data_prefix=dict(img_path="images", depth_map_path="depth"), pipeline=steps),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=train_dataloader["dataset"])
test_dataloader = val_dataloader
val_evaluator = dict(eigen_crop={eigen_crop}, output_dir="work_dirs/own/depth")
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
param_scheduler = None
"""


@pytest.fixture(scope="module")
def trained(workplace):
    """One epoch on eight scenes; returns what the console showed."""
    return workplace.succeeds(f"{TRAIN} --toy", *SHORT)


def test_a_run_leaves_every_figure_in_a_table_and_a_file(workplace, trained):
    figures = workplace.metrics(RUN)
    assert figures.keys() == {f"depth/{name}" for name in FIGURES}
    assert all(np.isfinite(value) for value in figures.values())
    assert all(f"depth/{name}" in trained for name in FIGURES)


def test_a_run_leaves_a_drawing_and_16_bit_depth_of_each_picture(workplace, trained):
    folder = workplace.folder / "work_dirs" / RUN / "predictions"
    assert len(list(folder.glob("*_depth.png"))) == 3
    assert len(list(folder.glob("*.png"))) == 6
    depth = cv2.imread(str(next(folder.glob("*_depth.png"))), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert depth.shape == (128, 160)
    assert 1 <= depth.min() <= depth.max() <= 10000


def test_testing_the_checkpoint_reproduces_the_figures(workplace, trained):
    workplace.succeeds(f"python tools/test.py {ANCHORFORMER} work_dirs/{RUN}/epoch_1.pth --toy", *SHORT)
    assert workplace.metrics(f"{RUN}/test") == workplace.metrics(RUN)


def make_own(workplace, scale=1000.0, eigen_crop=False):
    """Put three toy pictures into folders of a user's own, and write their config."""
    root = workplace.folder / "own"
    shutil.rmtree(root, ignore_errors=True)
    toy = workplace.folder / "data/toy_scenes/nyu"
    for ours, theirs in (("images/train", "images"), ("annotations/train", "depth")):
        (root / theirs).mkdir(parents=True)
        for file in sorted((toy / ours).iterdir())[:3]:
            shutil.copy(file, root / theirs)
    (workplace.folder / "own_configs").mkdir(exist_ok=True)
    (workplace.folder / "own_configs/own.py").write_text(OWN.format(scale=scale, eigen_crop=eigen_crop))


def test_folders_of_ones_own_train_and_every_prediction_is_written(workplace, trained):
    make_own(workplace)
    workplace.succeeds("python tools/train.py own_configs/own.py")
    assert workplace.metrics("own").keys() == {f"depth/{name}" for name in FIGURES}
    assert len(list((workplace.folder / "work_dirs/own/depth/own/images").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("own", "messages"),
    [
        (dict(scale=1.0), ["farther than it can be", "(depth_scale=1000)"]),
        (dict(eigen_crop=True), ["128 x 160", "eigen_crop=False"]),
    ],
    ids=["unit", "eigen_crop"],
)
def test_what_would_mislead_is_answered_in_a_few_lines(workplace, trained, own, messages):
    make_own(workplace, **own)
    done = workplace.run("python tools/train.py own_configs/own.py")
    refused(done, messages)
    assert "Epoch(train)" not in done.stdout


def test_missing_data_is_answered_with_where_it_was_looked_for(workplace):
    refused(workplace.run(TRAIN), ["data/nyu/nyu_train.txt", "--data-root", "--toy"])


def refused(done, messages):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = done.stderr[done.stderr.index("error: ") :]
    assert len(errors.splitlines()) <= 10
    for message in messages:
        assert message in errors
