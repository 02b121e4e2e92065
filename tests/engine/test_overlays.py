"""Overlays put a config in another setting; a few pictures of its own data train and validate it."""

import json

import pytest
from cases import ROOT
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.datasets.toy_export import ensure_toy_scenes
from effvit_mm.engine.data_check import check_data
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

MASKRCNN = ROOT / "configs/coco/maskrcnn_anchorformer.py"
BASES = ROOT / "configs/_base_"
FILES = {
    f"{split}_dataloader.dataset.{key}": value
    for split in ("train", "val", "test")
    for key, value in {
        "ann_file": "boxes.json",
        "data_prefix.img": "pictures/",
        "metainfo": {"classes": CLASSES},
    }.items()
}


def overfit(root, num_pictures):
    return load_config(
        MASKRCNN,
        overlays=BASES / "overfit",
        num_pictures=num_pictures,
        data_root=root,
        options=FILES,
        work_dir=root / "run",
    )


def test_few_pictures_train_and_validate_themselves(tmp_path):
    content = write_coco(tmp_path, num_pictures=5)
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]
    write_annotations(tmp_path, content)
    cfg = overfit(tmp_path, 3)
    files = {cfg[f"{split}_dataloader"].dataset.ann_file for split in ("train", "val", "test")}
    files |= {cfg[f"{split}_evaluator"].ann_file for split in ("val", "test")}
    (file,) = files
    kept = json.loads((tmp_path / file).read_text())
    assert [image["id"] for image in kept["images"]] == [1, 3, 4]
    assert [entry["image_id"] for entry in kept["annotations"]] == [1, 3, 4]
    assert kept["categories"] == content["categories"]
    assert cfg.val_dataloader.dataset.data_prefix == cfg.train_dataloader.dataset.data_prefix
    lines = []
    check_data(cfg, ("train", "val"), tell=lines.append)
    assert not lines  # as training and validation are meant to share their images here


def test_few_pictures_take_the_place_of_several_data_sets_of_validation(tmp_path):
    write_coco(tmp_path)
    inner = dict(type="CocoDataset", data_prefix=dict(img=""), pipeline=[dict(type="PackDetInputs")], test_mode=True)
    options = {
        **{key: value for key, value in FILES.items() if not key.startswith("val")},
        "val_dataloader.dataset": dict(type="ConcatDataset", datasets=[inner, inner], _delete_=True),
        "val_evaluator.ann_file": "nowhere.json",
    }
    cfg = load_config(MASKRCNN, num_pictures=2, data_root=tmp_path, options=options, work_dir=tmp_path / "run")
    assert cfg.val_dataloader.dataset.type == "CocoDataset"
    assert cfg.val_dataloader.dataset.ann_file == cfg.val_evaluator.ann_file == cfg.train_dataloader.dataset.ann_file


def test_few_pictures_need_no_validation_and_one_data_set(tmp_path):
    file = tmp_path / "maskrcnn_alone.py"
    file.write_text(f"_base_ = {str(MASKRCNN)!r}\nval_dataloader = val_cfg = val_evaluator = None\n")
    write_coco(tmp_path)
    arguments = dict(num_pictures=1, data_root=tmp_path, work_dir=tmp_path / "run")
    options = {key: value for key, value in FILES.items() if not key.startswith("val")}
    cfg = load_config(file, options=options, **arguments)
    assert (
        cfg.train_dataloader.dataset.ann_file == cfg.test_evaluator.ann_file == str(tmp_path / "run/few_pictures.json")
    )
    inner = cfg.train_dataloader.dataset
    twice = {"train_dataloader.dataset": dict(type="RepeatDataset", times=2, dataset=inner, _delete_=True)}
    with pytest.raises(BadInputError, match=r"train_dataloader\.dataset is a RepeatDataset around others"):
        load_config(file, options={**options, **twice}, **arguments)


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("maskrcnn", "ann_file='mine.json', data_prefix=dict(img='mine/')"),
        ("depth", "_delete_=True, type='DepthFolderDataset', data_prefix=dict(img_path='a', depth_map_path='b')"),
        ("cls", "_delete_=True, type='CustomDataset', data_prefix='mine'"),
        ("semfpn", "_delete_=True, type='IndexMaskFolder', data_prefix=dict(img_path='a', seg_map_path='b')"),
    ],
)
def test_toy_scenes_take_the_place_of_data_of_ones_own(tmp_path, method, data):
    (leaf,) = (ROOT / "configs").glob(f"*/{method}_pyramid.py")
    loaders = "".join(
        f"{split}_dataloader = dict(dataset=dict(data_root='own', {data}))\n" for split in ("train", "val")
    )
    file = tmp_path / f"{method}_own.py"
    file.write_text(f"_base_ = {str(leaf)!r}\n{loaders}test_dataloader = val_dataloader\n")
    own, stock = (load_config(config, overlays=BASES / "toy", splits=()) for config in (file, leaf))
    for split in ("train", "val", "test"):
        assert own[f"{split}_dataloader"].dataset == stock[f"{split}_dataloader"].dataset


def test_more_pictures_than_there_are_is_refused(tmp_path):
    write_coco(tmp_path, num_pictures=2)
    with pytest.raises(BadInputError, match="--overfit 3: give a number from 1 to 2"):
        overfit(tmp_path, 3)
    assert not (tmp_path / "run").exists()


def test_no_picture_is_refused(tmp_path):
    write_coco(tmp_path)
    with pytest.raises(BadInputError, match="--overfit 0"):
        overfit(tmp_path, 0)


@pytest.mark.parametrize("setting", ["toy", "overfit"])
def test_a_method_without_an_overlay_is_told_which_have_one(tmp_path, setting):
    file = tmp_path / "yolo_mine.py"
    file.write_text("model = dict(type='YOLO')")
    with pytest.raises(BadInputError, match=f"--{setting} has no overlay for yolo_mine.py(.|\n)*maskrcnn, retinanet"):
        load_config(file, overlays=BASES / setting)


@pytest.mark.parametrize(("leaf", "channels"), [("depth_pyramid", 64), ("depth_pyramid_linear", None)])
def test_a_head_of_another_type_than_the_overlay_names_stays_as_it_is(leaf, channels):
    file = ROOT / f"configs/nyu/{leaf}.py"
    toy = load_config(file, overlays=BASES / "toy", splits=())
    head = load_config(file, splits=()).model.decode_head
    assert toy.model.decode_head == (dict(head, channels=channels) if channels else head)
    assert toy.train_dataloader.batch_size == 4


def test_impossible_toy_scenes_are_refused_by_the_name_of_the_argument():
    with pytest.raises(BadInputError, match="toy_scenes: num_train=0"):
        load_config(MASKRCNN, overlays=BASES / "toy", options={"toy_scenes.num_train": 0})


def test_an_argument_that_toy_scenes_do_not_take_gets_near_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"toy_scenes.num_trian is no argument .*did you mean 'num_train'"):
        load_config(MASKRCNN, overlays=BASES / "toy", options={"toy_scenes.num_trian": 4})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.backbone.type", "model.backbone.type='AnchorFromer' is not a registered .*'AnchorFormer'"),
        ("model.neck.in_chanels", "model.neck: FPN takes no argument 'in_chanels'; did you mean 'in_channels'"),
        ("model.roi_head.mask_head.conv_out_chanels", "takes no argument 'conv_out_chanels'"),
        ("train_cfg.max_epoch", "train_cfg.max_epoch is no argument of the loop"),
        ("default_hooks.checkpoint.intervall", "intervall is no argument of the hook"),
    ],
)
def test_a_mistake_in_the_config_is_told_before_toy_scenes_are_rendered(tmp_path, monkeypatch, option, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=message):
        load_config(MASKRCNN, overlays=BASES / "toy", options={option: "AnchorFromer"})
    assert not list(tmp_path.rglob("*.jpg"))


def test_an_evaluation_is_not_held_to_the_sections_of_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"train_cfg.max_epoch": 3, "toy_scenes.num_train": 1, "toy_scenes.num_val": 1}
    load_config(MASKRCNN, overlays=BASES / "toy", options=options, splits=("test",))
    assert len(list(tmp_path.glob("data/toy_scenes/coco/*/*.jpg"))) == 2


def test_other_toy_scenes_say_in_a_line_what_they_replace(tmp_path, capsys):
    few = dict(num_val=1, num_workers=1)
    ensure_toy_scenes(tmp_path / "toy", num_train=2, **few)
    assert "rendered anew" not in capsys.readouterr().err
    ensure_toy_scenes(tmp_path / "toy", num_train=1, **few)
    said = f"toy scenes: {tmp_path}/toy is rendered anew: it holds num_train=2, asked for is num_train=1\n"
    assert said in capsys.readouterr().err
    ensure_toy_scenes(tmp_path / "toy", num_train=1, **few)
    assert capsys.readouterr().err == ""


def test_what_stops_a_rendering_before_it_begins_leaves_the_folder(tmp_path):
    few = dict(num_val=1, num_workers=1)
    ensure_toy_scenes(tmp_path / "toy", num_train=2, **few, before_rendering=None)

    def stop():
        raise BadInputError("model")

    ensure_toy_scenes(tmp_path / "toy", num_train=2, **few, before_rendering=stop)
    with pytest.raises(BadInputError, match="model"):
        ensure_toy_scenes(tmp_path / "toy", num_train=1, **few, before_rendering=stop)
    assert len(list((tmp_path / "toy/coco/train2017").iterdir())) == 2


def test_of_necks_one_behind_the_other_the_last_is_narrowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    channels = [32, 64, 160, 256]
    fpn = dict(type="FPN", in_channels=channels, out_channels=256, num_outs=5)
    necks = [dict(type="ContextBridge", in_channels=channels), fpn]
    file = tmp_path / "maskrcnn_mine.py"
    leaf = ROOT / "configs/survey/maskrcnn.py"
    file.write_text(
        f"_base_ = [{str(leaf)!r}]\nmodel = dict(neck={necks!r})\n"
        "custom_imports = dict(imports=['effvit_mm', 'effvit_mm.engine', 'effvit_mm.necks'])\n"
    )
    small = {"toy_scenes.num_train": 5, "toy_scenes.num_val": 4}
    cfg = load_config(file, overlays=BASES / "toy", options=small)
    bridge, fpn = cfg.model.neck
    assert bridge == necks[0]
    assert fpn == {**necks[1], "out_channels": cfg.model.rpn_head.in_channels}
    assert fpn["out_channels"] < 256
