"""An annotation file that would break a run is refused by entry and field; what is odd but legal passes."""

import math

import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.engine.coco_check import _num_pixels, check_crowds, check_masks, read_coco
from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError


def changed(tmp_path, change):
    """A data set's annotation file after ``change``, which gets its content."""
    content = write_coco(tmp_path)
    change(content)
    write_annotations(tmp_path, content)
    return tmp_path / "boxes.json"


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("images", "height", 0),
        ("images", "width", "50"),
        ("images", "file_name", None),
        ("images", "id", [1]),
        ("annotations", "bbox", [1, 2, 3]),
        ("annotations", "bbox", [1, 2, 3, math.nan]),
        ("annotations", "bbox", [1, 2, 3, 1e30]),
        ("annotations", "bbox", [1, 2, 3, "4"]),
        ("annotations", "area", None),
        ("annotations", "category_id", True),
        ("annotations", "iscrowd", "0"),
        ("categories", "name", 7),
    ],
)
def test_a_value_that_cannot_be_one_is_named_with_its_place_and_what_is_expected(tmp_path, key, field, value):
    file = changed(tmp_path, lambda content: content[key][1].update({field: value}))
    with pytest.raises(BadInputError) as caught:
        read_coco(file)
    text = str(caught.value)
    assert f"boxes.json:\n  {key}[1].{field} is " in text
    assert "expected" in text
    assert "correct the entry" in text


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_an_id_used_twice_is_refused(tmp_path, key):
    file = changed(tmp_path, lambda content: content[key][1].update(id=1))
    with pytest.raises(BadInputError, match=f"2 {key} with the id 1"):
        read_coco(file)


def test_ids_as_text_in_one_place_and_numbers_in_another_are_refused(tmp_path):
    file = changed(tmp_path, lambda content: content["annotations"][0].update(image_id="1"))
    with pytest.raises(BadInputError, match=r"annotations\[0\].image_id is '1'"):
        read_coco(file)


@pytest.mark.parametrize("where", [("annotations", "category_id"), ("categories", "id")])
def test_category_ids_that_are_text_in_one_place_are_refused_as_text_with_theirs(tmp_path, where):
    key, field = where
    file = changed(tmp_path, lambda content: content[key][1].update({field: "2"}))
    with pytest.raises(
        BadInputError, match=rf"{key}\[1\].{field} is '2', a text, expected the type of the first category"
    ):
        read_coco(file)


def test_category_ids_that_are_text_everywhere_pass(tmp_path):
    def change(content):
        for key, field in (("annotations", "category_id"), ("categories", "id")):
            for entry in content[key]:
                entry[field] = str(entry[field])

    check_data(coco_config(changed(tmp_path, change).parent, masks=True), ("train", "val"))


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda text: text.encode("utf-8-sig"), "byte order mark"),
        (lambda text: text.encode("utf-16"), "not UTF-8"),
        (lambda text: b"[" * 100_000, "not whole JSON"),
    ],
)
def test_text_that_the_data_set_could_not_read_is_refused(tmp_path, encode, message):
    write_coco(tmp_path)
    file = tmp_path / "boxes.json"
    file.write_bytes(encode(file.read_text()))
    with pytest.raises(BadInputError, match=message):
        read_coco(file)


def test_what_is_odd_but_legal_passes(tmp_path):
    def change(content):
        content["info"] = None
        content["annotations"][0].update(bbox=[-1.5, -2, 60.25, 45], area=33.3, score=1, category_id=99)
        content["annotations"][1].update(bbox=[5, 5, 0, 0], iscrowd=True)
        content["annotations"][1]["segmentation"] = {"size": [40, 50], "counts": [100, 50, 1850]}
        content["annotations"].append({**content["annotations"][2], "id": 70, "image_id": 10_000})
        content["images"][0]["id"] = content["annotations"][0]["image_id"] = 1.0

    check_data(coco_config(changed(tmp_path, change).parent, masks=True), ("train",))


def coco_config(root, *, masks=False, classes=CLASSES):
    pipeline = [dict(type="LoadAnnotations", with_mask=masks)]
    dataset = dict(type="CocoDataset", data_root=str(root), ann_file="boxes.json", pipeline=pipeline)
    dataset |= dict(data_prefix=dict(img="pictures/"), metainfo=dict(classes=classes))
    return Config(dict(train_dataloader=dict(dataset=dataset), val_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "is missing"),
        ([], "is missing"),
        ("polygon", "expected polygons or an object"),
        ([[1, 2, None, 4, 5, 6]], "expected polygons"),
        ([[0, 0, 1e12, 0, 5, 5]], "expected polygons"),
        ({"counts": "abc"}, "expected polygons or an object"),
        ({"size": [50, 40], "counts": [2000]}, r"is of size \[50, 40\], but its picture is \[40, 50\]"),
        ({"size": [40, 50], "counts": [10]}, "run lengths of 10 pixels, but its picture has 2000"),
        ({"size": [40, 50], "counts": "~~"}, "run lengths of no number of pixels"),
    ],
)
def test_a_mask_that_cannot_be_read_is_refused_where_masks_are_loaded(tmp_path, mask, message):
    root = changed(tmp_path, lambda content: content["annotations"][1].update(segmentation=mask)).parent
    check_data(coco_config(root), ("train",))
    with pytest.raises(BadInputError, match=f"annotation 2: segmentation .*{message}"):
        check_data(coco_config(root, masks=True), ("train",))


def test_polygons_of_two_points_are_passed_over_in_training_and_refused_in_evaluation(tmp_path):
    content = write_coco(tmp_path)
    content["annotations"][0]["segmentation"] = [[1, 1, 2, 2]]
    check_masks(tmp_path, content, content["annotations"], short=True)
    with pytest.raises(BadInputError, match=r"annotation 1: segmentation has \[1, 1, 2, 2\]"):
        check_masks(tmp_path, content, content["annotations"], short=False)


def test_evaluation_needs_to_know_crowds(tmp_path):
    with pytest.raises(BadInputError, match=r'annotation 4 lacks iscrowd(.|\n)*"iscrowd": 0'):
        check_crowds(tmp_path, [dict(id=3, iscrowd=0), dict(id=4)])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_run_lengths_are_counted_as_pycocotools_writes_them(share):
    generator = np.random.default_rng(0)
    for height, width in ((1, 1), (3, 700), (40, 50)):
        mask = np.asfortranarray(generator.random((height, width)) < share, dtype=np.uint8)
        counts = coco_mask.encode(mask)["counts"].decode()
        assert _num_pixels(counts) == height * width
        assert _num_pixels(counts + "5") != height * width


def test_classes_that_mmdet_would_confuse_are_refused(tmp_path):
    write_coco(tmp_path)
    with pytest.raises(BadInputError, match=r"in this order, box, sphere(.|\n)*metainfo"):
        check_data(coco_config(tmp_path, classes=CLASSES[::-1]), ("train",))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((*CLASSES, "cone"), "of the 3 classes of the train data set 'cone' is no category of .*boxes.json"),
        (("box", "spheer"), "'spheer' is no category of .*; for 'spheer' did you mean 'sphere'[?] set .*metainfo"),
        (
            ("Box", "Sphere"),
            "none of the 2 .* for 'Box' did you mean 'box', for 'Sphere' did you mean 'sphere'[?]",
        ),
        (("boxsphere",), "'boxsphere' is 'box' and 'sphere' without a comma between them; set .*metainfo"),
    ],
)
def test_a_class_that_the_file_lacks_is_named_with_the_category_that_was_meant(tmp_path, classes, message):
    write_coco(tmp_path)
    with pytest.raises(BadInputError, match=message):
        check_data(coco_config(tmp_path, classes=classes), ("train",))


def test_an_evaluators_file_of_other_pictures_is_refused(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path / "other", num_pictures=1)
    cfg = coco_config(tmp_path)
    cfg.val_evaluator = dict(type="CocoMetric", ann_file=str(tmp_path / "other/boxes.json"))
    with pytest.raises(BadInputError, match=r"val_evaluator.ann_file .* lacks 2 of the 3 pictures"):
        check_data(cfg, ("val",))


def test_pictures_without_annotations_are_enough_to_write_predictions(tmp_path):
    file = changed(tmp_path, lambda content: content.pop("annotations"))
    cfg = coco_config(tmp_path)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = dict(type="CocoMetric", ann_file=str(file), format_only=True)
    with pytest.raises(BadInputError, match=r"test_evaluator.format_only=True .* set test_evaluator.outfile_prefix="):
        check_data(cfg, ("test",))
    cfg.test_evaluator.outfile_prefix = str(tmp_path / "predictions")
    check_data(cfg, ("test",))
    cfg.test_evaluator.format_only = False
    with pytest.raises(BadInputError, match="expected an object with the lists") as caught:
        check_data(cfg, ("test",))
    assert "test_evaluator.format_only=True and test_evaluator.outfile_prefix='...'" in str(caught.value)
