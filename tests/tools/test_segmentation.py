"""Segmenters through the tools: a run on folders of one's own, its test, pictures learnt by heart, and bad folders."""

import pytest
from PIL import Image
from tiny_masks import CLASSES, mask_path, write_masks

TRAIN = "python tools/train.py semfpn_rooms.py"
CONFIG = f"""
_base_ = [
    "configs/_base_/models/semfpn.py",
    "configs/_base_/datasets/index_mask_folder.py",
    "configs/_base_/schedules/scratch_cpu.py",
    "configs/_base_/segmentation_runtime.py",
]
data = dict(data_root="rooms", metainfo=dict(classes={CLASSES}))
loading = dict(num_workers=0, persistent_workers=False, dataset=data)
train_dataloader = dict(batch_size=2, **loading)
val_dataloader = loading
test_dataloader = loading
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(type="AnchorFormer", variant="t"),
    neck=dict(in_channels=[32, 64, 160, 256], out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16, num_classes=3),
)
"""
SMALL = (
    "train_dataloader.dataset.pipeline.2.scale=(80,64)",
    "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
    "val_dataloader.dataset.pipeline.1.scale=(80,64)",
    "test_dataloader.dataset.pipeline.1.scale=(80,64)",
)
TWO_STEPS = ("train_cfg.max_iters=2", "train_cfg.val_interval=2", "param_scheduler.0.total_steps=2")
RUN = "semfpn_rooms"


@pytest.fixture(scope="module")
def rooms(workplace):
    """A folder of three pictures with masks, and a config for it."""
    write_masks(workplace.folder / "rooms", size=(80, 100))
    (workplace.folder / f"{RUN}.py").write_text(CONFIG)
    return workplace


@pytest.fixture(scope="module")
def trained(rooms):
    """Two iterations; returns what the console showed."""
    return rooms.succeeds(TRAIN, *SMALL, *TWO_STEPS)


def test_a_run_leaves_figures_pictures_and_a_checkpoint(rooms, trained):
    run = rooms.folder / "work_dirs" / RUN
    assert {"mIoU", "aAcc", "mAcc"} == rooms.metrics(RUN).keys()
    assert (run / "iter_2.pth").is_file()
    drawn = sorted((run / "predictions").glob("*.png"))
    assert [file.name for file in drawn] == [f"street_{i}.png" for i in (1, 2, 3)]
    with Image.open(drawn[0]) as picture:
        assert picture.width > 3 * 360
    for name in CLASSES:
        assert f"{name}" in trained


def test_testing_the_checkpoint_reproduces_the_figures(rooms, trained):
    rooms.succeeds(f"python tools/test.py {RUN}.py work_dirs/{RUN}/iter_2.pth", *SMALL)
    assert rooms.metrics(f"{RUN}/test") == rooms.metrics(RUN)


def test_testing_with_several_versions_of_each_picture_gives_figures(rooms, trained):
    command = f"python tools/test.py {RUN}.py work_dirs/{RUN}/iter_2.pth --tta --work-dir work_dirs/averaged"
    rooms.succeeds(command, *SMALL)
    assert "mIoU" in rooms.metrics("averaged")


def test_few_pictures_are_learnt_and_validated(rooms):
    command = f"{TRAIN} --overfit 2 --work-dir work_dirs/few"
    small = "train_dataloader.dataset.pipeline.2.scale=(64,64)", "model.data_preprocessor.size=(64,64)"
    rooms.succeeds(command, *small, "val_dataloader.dataset.pipeline.1.scale=(64,64)", *TWO_STEPS)
    names = (rooms.folder / "work_dirs/few/few_pictures.txt").read_text()
    assert names.split() == ["street_1", "street_2"]
    assert len(list((rooms.folder / "work_dirs/few/predictions").glob("*.png"))) == 2


def test_a_toy_run_takes_the_classes_of_the_scenes(rooms):
    few = "toy_scenes.num_train=4", "toy_scenes.num_val=2"
    out = rooms.succeeds(f"{TRAIN} --toy --work-dir work_dirs/toy", *few, *TWO_STEPS)
    assert "cylinder" in out
    assert "mIoU" in rooms.metrics("toy")


@pytest.mark.parametrize(
    ("command", "messages"),
    [
        (f"{TRAIN} --data-root nowhere", ["nowhere/images/training/", "MISSING", "--toy"]),
        ("python tools/train.py configs/ade20k/semfpn_anchorformer.py", ["ADEChallengeData2016.zip", "data/ade"]),
        (f"{TRAIN} --overfit 9", ["--overfit 9: give a number from 1 to 3"]),
        (f"{TRAIN} --cfg-options model.decode_head.num_classes=4", ["num_classes=4", "3 classes"]),
    ],
)
def test_bad_input_is_answered_in_a_few_lines_without_a_traceback(rooms, command, messages):
    done = rooms.run(command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 15
    for message in messages:
        assert message in done.stderr


def test_a_mask_of_unknown_values_stops_the_run_before_it_starts(rooms):
    root = rooms.folder / "damaged"
    write_masks(root)
    with Image.open(mask_path(root, 1)) as mask:
        mask.point(lambda value: value + 5).save(mask_path(root, 1))
    done = rooms.run(f"{TRAIN} --data-root damaged --work-dir work_dirs/damaged")
    assert "street_1.png  5, 6, 7" in done.stderr
    assert "values 0 to 2" in done.stderr
    assert not (rooms.folder / "work_dirs/damaged").exists()
