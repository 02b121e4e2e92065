"""Data that is missing, torn, of another kind or of other classes is told before anything is built."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError


def config(root, classes=CLASSES):
    dataset = dict(
        type="CocoDataset",
        data_root=str(root),
        ann_file="boxes.json",
        data_prefix=dict(img="pictures/"),
        metainfo=dict(classes=classes),
    )
    return Config(dict(train_dataloader=dict(dataset=dataset), val_evaluator=dict(ann_file=str(root / "boxes.json"))))


def message(cfg):
    with pytest.raises(BadInputError) as caught:
        check_data(cfg, ("train",))
    return str(caught.value)


def test_whole_data_passes(tmp_path):
    write_coco(tmp_path)
    check_data(config(tmp_path), ("train", "val"))


def test_missing_data_lists_the_files_the_source_and_the_way_without_data(tmp_path):
    text = message(config(tmp_path / "nowhere"))
    assert f"{tmp_path}/nowhere/boxes.json" in text
    assert "MISSING" in text
    assert "--toy" in text
    assert "--data-root" in text
    cfg = config(tmp_path / "nowhere")
    cfg.train_dataloader.dataset.ann_file = "annotations/instances_train2017.json"
    assert "cocodataset.org" in message(cfg)


def test_of_data_of_ones_own_the_near_names_are_told_and_not_where_coco_comes_from(tmp_path):
    write_coco(tmp_path / "rooms")
    for root, name, near in (
        (tmp_path / "rooms", "box.json", f"in {tmp_path}/rooms/ did you mean 'boxes.json'"),
        (tmp_path / "room", "boxes.json", f"in {tmp_path}/ did you mean 'rooms'"),
    ):
        cfg = config(root)
        cfg.train_dataloader.dataset.ann_file = name
        text = message(cfg)
        assert near in text
        assert "cocodataset.org" not in text
    assert f"in {tmp_path}/room/ there is no folder" in text
    cfg = config(tmp_path / "rooms")
    cfg.train_dataloader.dataset.ann_file = "box.json"
    assert f"in {tmp_path}/rooms/ there are the files boxes.json" in message(cfg)


def test_validation_can_be_switched_off(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    check_data(cfg, ("train", "val"))


def test_data_sets_inside_wrappers_are_checked(tmp_path):
    inner = config(tmp_path / "nowhere").train_dataloader.dataset
    wrapped = dict(type="RepeatDataset", dataset=dict(type="ConcatDataset", datasets=[inner]))
    assert "MISSING" in message(Config(dict(train_dataloader=dict(dataset=wrapped))))


def test_a_missing_annotation_file_of_the_evaluator_is_listed(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator.ann_file = str(tmp_path / "other.json")
    with pytest.raises(BadInputError, match=r"val evaluator .*other.json +MISSING"):
        check_data(cfg, ("train", "val"))


def test_a_torn_annotation_file_is_named(tmp_path):
    write_coco(tmp_path)
    file = tmp_path / "boxes.json"
    file.write_bytes(file.read_bytes()[:-40])
    text = message(config(tmp_path))
    assert "boxes.json is not whole JSON" in text
    assert "fetch or write it again" in text


@pytest.mark.parametrize("content", [[1, 2], {"images": []}, {"shapes": [], "imagePath": "a.jpg"}])
def test_an_annotation_file_of_another_kind_is_named(tmp_path, content):
    write_coco(tmp_path)
    write_annotations(tmp_path, content)
    text = message(config(tmp_path))
    assert "is not COCO's: expected an object with the lists images, annotations, categories" in text


def test_an_entry_that_lacks_a_field_is_named(tmp_path):
    content = write_coco(tmp_path)
    del content["annotations"][1]["bbox"]
    write_annotations(tmp_path, content)
    assert "annotations[1] lacks bbox" in message(config(tmp_path))


def test_class_names_that_match_no_category_are_shown_beside_the_files(tmp_path):
    write_coco(tmp_path)
    text = message(config(tmp_path, classes=("cat", "dog")))
    assert "cat, dog" in text
    assert "box, sphere" in text
    assert "metainfo" in text


def test_stock_class_names_are_compared_when_the_config_names_none(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    del cfg.train_dataloader.dataset["metainfo"]
    assert "none of the 80 classes" in message(cfg)


def test_classes_without_annotations_are_refused(tmp_path):
    write_coco(tmp_path)
    assert "nothing would be left to learn from" in message(config(tmp_path, classes=("sphere",)))


def test_missing_and_torn_pictures_are_counted_and_named(tmp_path):
    write_coco(tmp_path, num_pictures=4)
    (tmp_path / "pictures/1.jpg").unlink()
    torn = tmp_path / "pictures/2.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    (tmp_path / "pictures/4.jpg").write_text("not a picture")
    text = message(config(tmp_path))
    assert "3 of the 4 pictures" in text
    assert "1.jpg  missing" in text
    assert "2.jpg  torn" in text
    assert "4.jpg  torn or no picture" in text


def test_a_whole_picture_with_bytes_behind_its_end_passes(tmp_path):
    write_coco(tmp_path)
    picture = tmp_path / "pictures/1.jpg"
    picture.write_bytes(picture.read_bytes() + bytes(100))
    check_data(config(tmp_path), ("train",))


def test_a_data_set_of_another_library_is_left_to_itself():
    cfg = Config(dict(default_scope="mmseg", train_dataloader=dict(dataset=dict(type="NYUDataset", data_root="x"))))
    check_data(cfg, ("train",))


def test_a_misspelt_data_set_gets_near_names_of_its_library():
    cfg = Config(dict(default_scope="mmseg", train_dataloader=dict(dataset=dict(type="ADE2OKDataset", data_root="x"))))
    assert "'ADE2OKDataset' is not registered; did you mean 'ADE20KDataset'" in message(cfg)


def test_a_data_set_of_ours_that_is_not_imported_is_answered_with_its_module(monkeypatch):
    import effvit_mm.depth  # noqa: F401
    from effvit_mm.registry import DATASETS

    monkeypatch.delitem(DATASETS._module_dict, "DepthListDataset")
    cfg = Config(dict(default_scope="mmseg", train_dataloader=dict(dataset=dict(type="DepthListDataset"))))
    text = message(cfg)
    assert "type='DepthListDataset' is not registered; it is registered by effvit_mm.depth" in text
    assert "takes the place of its base's" in text
    assert "imports=['effvit_mm', 'effvit_mm.engine', 'effvit_mm.depth', ...]" in text


def test_a_relative_annotation_path_is_found_under_the_root(tmp_path, monkeypatch):
    write_coco(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    cfg = config(Path("set"))
    cfg.val_evaluator.ann_file = "set/boxes.json"
    check_data(cfg, ("train",))


@pytest.mark.parametrize("names", [("boat", "lamp"), ("person", "boatt")])
def test_a_forgotten_metainfo_is_told_and_no_class_of_coco_meant(tmp_path, names):
    content = write_coco(tmp_path)
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    write_annotations(tmp_path, content)
    cfg = config(tmp_path, names)
    cfg.val_dataloader = copy.deepcopy(cfg.train_dataloader)
    check_data(cfg, ("train", "val"))
    del cfg.val_dataloader.dataset["metainfo"]
    with pytest.raises(BadInputError) as caught:
        check_data(cfg, ("train", "val"))
    text = str(caught.value)
    assert "val_dataloader.dataset has no metainfo, so its classes are CocoDataset's (person, bicycle" in text
    assert f"which has {names[0]}, {names[1]}; set val_dataloader.dataset.metainfo=dict(classes=(...))" in text
    assert "did you mean" not in text


def test_a_class_without_its_comma_is_told_to_get_one():
    from effvit_mm.engine.data_check import _classes_of

    with pytest.raises(BadInputError, match=r"a single name needs its comma: metainfo=dict\(classes=\('chair',\)\)"):
        _classes_of("train", dict(type="CocoDataset", metainfo=dict(classes="chair")))


def test_a_folder_of_pictures_that_is_not_there_is_answered_with_the_setting_and_the_folders_there_are(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    cfg.train_dataloader.dataset.data_prefix.img = "photos/"
    text = message(cfg)
    assert "data_prefix=dict(img='photos/') of the data set names the folder of the pictures" in text
    assert f"in {tmp_path}/ there are the folders pictures/" in text


def test_pictures_that_lie_in_another_folder_are_answered_with_the_setting_and_that_folder(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "photos").mkdir()
    cfg = config(tmp_path)
    cfg.train_dataloader.dataset.data_prefix.img = "photos/"
    text = message(cfg)
    assert "or set data_prefix=dict(img='...') of the data set" in text
    assert f"(1.jpg lies in {tmp_path}/pictures/)" in text
