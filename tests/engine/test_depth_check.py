"""Pictures and depth maps that would stop a run midway are told before anything is built."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

from effvit_mm.depth import files, write_depth
from effvit_mm.engine import picture_check
from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError

NUM_PAIRS = 20  # more than the data sets read for their unit
LOADED = [dict(type="LoadImageFromFile"), dict(type="LoadDepth")]


def picture_path(root, number):
    return root / f"images/room_{number}.jpg"


def depth_path(root, number):
    return root / f"depth/room_{number}.png"


def write_pair(root, number, size=(6, 8)):
    picture_path(root, number).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(picture_path(root, number)), np.zeros((*size, 3), np.uint8))
    write_depth(depth_path(root, number), np.full(size, 2.5))


@pytest.fixture
def root(tmp_path):
    for number in range(NUM_PAIRS):
        write_pair(tmp_path, number)
    return tmp_path


def config(root, *, pipeline=(), eigen_crop=False, **options):
    prefix = dict(img_path="images", depth_map_path="depth")
    dataset = dict(type="DepthFolderDataset", data_root=str(root), data_prefix=prefix, pipeline=[*LOADED, *pipeline])
    evaluator = dict(type="MonoDepthMetric", eigen_crop=eigen_crop)
    return Config(
        dict(
            default_scope="mmseg",
            train_dataloader=dict(dataset={**dataset, **options}),
            val_dataloader=dict(dataset=dict(type="ConcatDataset", datasets=[{**dataset, **options}])),
            val_evaluator=evaluator,
        )
    )


def message(cfg, *splits):
    with pytest.raises(BadInputError) as caught:
        check_data(cfg, splits or ("train", "val"))
    return str(caught.value)


def test_whole_data_passes(root):
    check_data(config(root), ("train", "val"))


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


DAMAGES = {
    "8 bits": (
        lambda root: cv2.imwrite(str(depth_path(root, 13)), np.ones((6, 8), np.uint8)),
        ["1 of the 20 depth maps of the train data set", "room_13.png  has 8 bits and 1 channel,", "np.uint16"],
    ),
    "colour": (
        lambda root: cv2.imwrite(str(depth_path(root, 13)), np.ones((6, 8, 3), np.uint16)),
        ["room_13.png  has 16 bits and 3 channels, expected 16 bits and one channel"],
    ),
    "torn depth": (lambda root: cut(depth_path(root, 13)), ["room_13.png  torn or no picture", "fetch it again"]),
    "empty depth": (lambda root: depth_path(root, 13).write_bytes(b""), ["room_13.png  is torn or no picture"]),
    "torn picture": (
        lambda root: cut(picture_path(root, 13)),
        ["1 of the 20 pictures with depth maps in", "room_13.jpg  torn or no picture", "fetch them again"],
    ),
    "size": (
        lambda root: write_depth(depth_path(root, 13), np.ones((8, 6))),
        ["room_13.jpg  is 6 x 8 pixels (H x W), its depth map is 8 x 6", "by nearest neighbours"],
    ),
    "missing": (lambda root: depth_path(root, 13).unlink(), ["1 of the 40 files", "room_13.png", "--toy"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_would_stop_a_run_is_named_with_its_remedy(root, damage):
    do, parts = DAMAGES[damage]
    do(root)
    text = message(config(root))
    for part in parts:
        assert part in text
    assert len(text.splitlines()) <= 6


def test_many_problems_are_counted_and_three_are_named(root):
    for number in range(5):
        cv2.imwrite(str(depth_path(root, number)), np.ones((6, 8), np.uint8))
    text = message(config(root))
    assert "5 of the 20 depth maps" in text
    assert "... and 2 more" in text


def test_depth_is_to_be_written_in_the_unit_of_its_data_set(root):
    cv2.imwrite(str(depth_path(root, 13)), np.ones((6, 8), np.uint8))
    assert "np.rint(metres * 256)" in message(config(root, depth_scale=256.0))
    assert "np.rint(metres * 1000)" in message(config(root))


def test_depth_that_is_no_png_passes_where_the_run_reads_it(root):
    for number in range(NUM_PAIRS):
        stored = cv2.imread(str(depth_path(root, number)), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(depth_path(root, number).with_suffix(".tiff")), stored)
    check_data(config(root, depth_map_suffix=".tiff"), ("train",))


def test_eigen_crop_wants_pictures_of_nyus_size_and_names_one_that_is_not(tmp_path):
    for number in range(3):
        write_pair(tmp_path, number, (480, 640))
    check_data(config(tmp_path, eigen_crop=True), ("train", "val"))
    write_pair(tmp_path, 1, (480, 600))
    text = message(config(tmp_path, eigen_crop=True))
    assert "1 of the 3 pictures of the val data set is not 480 x 640 pixels (H x W)" in text
    assert "room_1.jpg  is 480 x 600" in text
    assert "eigen_crop=False in val_evaluator" in text
    check_data(config(tmp_path, eigen_crop=False), ("train", "val"))
    check_data(config(tmp_path, eigen_crop=True), ("train",))


def test_the_crop_of_a_border_wants_pictures_of_its_size(root):
    crop = dict(type="BorderCrop", rows=(1, 5), columns=(1, 7), size=(6, 8))
    check_data(config(root, pipeline=[crop]), ("train",))
    text = message(config(root, pipeline=[dict(type="BorderCrop")]))
    assert "20 of the 20 pictures of the train data set are not 480 x 640" in text
    assert "take BorderCrop out of train_dataloader.dataset.pipeline" in text
    resized = [dict(type="Resize", scale=(640, 480)), dict(type="BorderCrop")]
    check_data(config(root, pipeline=resized), ("train",))


@pytest.mark.parametrize(("indices", "is_read"), [(5, False), (14, True), (-5, False), (-7, True), ([13], True)])
def test_only_the_pairs_that_a_run_uses_are_looked_at(root, indices, is_read):
    order = sorted(range(NUM_PAIRS), key=str)
    cv2.imwrite(str(depth_path(root, order[13])), np.ones((6, 8), np.uint8))
    if is_read:
        assert "cannot be used" in message(config(root, indices=indices))
    else:
        check_data(config(root, indices=indices), ("train",))


def test_nothing_is_opened_where_only_the_config_is_asked_about(root):
    cut(depth_path(root, 13))
    check_data(config(root), ("train", "val"), open_pictures=False)


def test_whole_files_are_not_decoded(root, monkeypatch):
    monkeypatch.setattr(files, "stored_depth", None)
    monkeypatch.setattr(picture_check, "_decode", None)
    check_data(config(root), ("train", "val"))


@pytest.mark.parametrize("place", ["visualizer", "val_evaluator"])
def test_depth_that_the_files_of_a_run_cannot_hold_is_refused_with_what_to_set(root, place):
    cfg = config(root)
    cfg.model = dict(decode_head=dict(max_depth=80.0))
    cfg.visualizer = dict(type="DepthVisualizer", png_scale=256.0)
    cfg.val_evaluator.update(max_depth=80.0, output_dir="depth_maps", png_scale=256.0)
    check_data(cfg, ("train", "val"))
    del cfg[place]["png_scale"]
    assert f"{place}.png_scale=1000 writes depth up to 65.535 m" in message(cfg)
    assert f"set {place}.png_scale=256" in message(cfg)


def test_depth_in_linked_folders_is_read_without_apples_files_and_left_out_images_are_told(root):
    for kind in ("images", "depth"):
        (root / "disk" / kind).mkdir(parents=True)
        for file in (root / kind).glob("room_1*"):
            file.rename(root / "disk" / kind / file.name)
        (root / kind / "linked").symlink_to(root / "disk" / kind)
    (root / "images/._room_0.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    (root / "images/room.avif").touch()
    told = []
    cfg = config(root)
    check_data(cfg, ("train",), tell=told.append)
    assert "1 is left out (1 .avif)" in told[0]
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert len(dataset) == NUM_PAIRS


def test_a_metric_of_another_range_than_the_head_is_told(root):
    told = []
    cfg = config(root)
    cfg.model = dict(decode_head=dict(max_depth=10.0))
    check_data(cfg, ("train", "val"), tell=told.append)
    assert told == []
    cfg.val_evaluator.max_depth = 80.0
    check_data(cfg, ("train", "val"), tell=told.append)
    assert "val_evaluator compares depth up to max_depth=80 m" in told[0]
    assert "max_depth=10 m" in told[0]
