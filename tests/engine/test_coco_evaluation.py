"""Ids, orders and numbers that change COCO's figures are refused or told; perfect predictions give the right ones."""

import json

import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError


def config(root, *, evaluator=None, **sections):
    files = dict(data_root=str(root), ann_file="boxes.json", data_prefix=dict(img="pictures/"))
    dataset = dict(type="CocoDataset", **files, metainfo=dict(classes=CLASSES), pipeline=[], test_mode=True)
    measure = dict(type="CocoMetric", ann_file=f"{root}/boxes.json", **(evaluator or {}))
    return Config(dict(val_dataloader=dict(dataset=dataset), val_evaluator=measure, **sections))


def renumber(content, key, ids):
    """Give images, annotations or categories other ids, and what names them the same."""
    field = {"images": "image_id", "categories": "category_id"}.get(key)
    new = dict(zip([entry["id"] for entry in content[key]], ids, strict=True))
    for entry in content[key]:
        entry["id"] = new[entry["id"]]
    for entry in content["annotations"] if field else ():
        entry[field] = new[entry[field]]


def write(root, key=None, ids=()):
    content = write_coco(root, num_pictures=2)
    first = content["annotations"]
    content["annotations"] = [*first, *({**entry, "id": entry["id"] + 2, "category_id": 2} for entry in first)]
    if key:
        renumber(content, key, ids)
    write_annotations(root, content)
    return content


def perfect(root, *, classwise=False, without=()):
    """What mmdet's metric gives for predictions equal to the annotations; those of some classes left out."""
    file = root / "boxes.json"
    content = json.loads(file.read_text())
    metric = CocoMetric(ann_file=str(file), classwise=classwise)
    metric.dataset_meta = dict(classes=CLASSES)
    labels = {category["id"]: place for place, category in enumerate(content["categories"])}
    for image in content["images"]:
        found = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        found = [entry for entry in found if CLASSES[labels[entry["category_id"]]] not in without]
        boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in found)])
        guessed = torch.tensor([labels[entry["category_id"]] for entry in found])
        pred = dict(bboxes=boxes.reshape(-1, 4), scores=torch.full((len(found),), 0.9), labels=guessed)
        metric.process({}, [dict(img_id=image["id"], ori_shape=(40, 50), pred_instances=pred)])
    return metric.evaluate(len(content["images"]))


WRONG = [
    ("annotations", [0, 1, 2, 3], "annotation 0 would count as never found"),
    ("annotations", ["0", "1", "2", "3"], "annotation '0' would count"),
    ("annotations", ["a", "b", "c", "d"], "annotation 'a', 'b', 'c', 'd' would count as never found, or stop it"),
    ("annotations", [10**400, 1, 2, 3], "would count as never found, or stop it"),
    ("images", [1, 2**63 + 1], "of images no longer apart"),
    ("images", [1.0, 2**53 + 1], "of images no longer apart"),
    ("categories", [1.0, 2**53 + 1], "of categories no longer apart"),
]


@pytest.mark.parametrize(("key", "ids", "message"), WRONG)
def test_ids_that_the_evaluation_cannot_hold_are_refused(tmp_path, key, ids, message):
    write(tmp_path, key, ids)
    with pytest.raises(BadInputError, match=message):
        check_data(config(tmp_path), ("val",))


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], ["0", "1", "2", "3"]])
def test_an_annotation_id_of_zero_does_change_the_figure(tmp_path, ids):
    """The reason for the refusal: one of four objects is not seen as found."""
    write(tmp_path, "annotations", ids)
    assert perfect(tmp_path)["coco/bbox_mAP"] < 0.9


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("annotations", [-2, -1, 1, 2]),
        ("annotations", ["1", "2", "3", "4"]),
        ("annotations", [2**53, 2**53 + 1, 2**63, 2**64]),
        ("images", [0, -1]),
        ("images", ["b", "a"]),
        ("images", [2**53, 2**53 + 1]),
        ("images", [2**64, 2**64 + 1]),
        ("categories", [0, 1]),
        ("categories", ["b", "a"]),
        ("categories", [2.0, 1.0]),
    ],
)
def test_ids_that_are_odd_and_held_pass_and_give_the_right_figure(tmp_path, key, ids):
    write(tmp_path, key, ids)
    check_data(config(tmp_path), ("val",))
    assert perfect(tmp_path)["coco/bbox_mAP"] == 1
    assert perfect(tmp_path, without=CLASSES[:1])["coco/bbox_mAP"] == 0.5


def test_crowds_and_annotations_that_are_not_evaluated_may_have_any_id(tmp_path):
    content = write(tmp_path, "annotations", [0, 1, 2, 3])
    content["annotations"][0]["iscrowd"] = 1
    write_annotations(tmp_path, content)
    check_data(config(tmp_path), ("val",))
    assert perfect(tmp_path)["coco/bbox_mAP"] == 1


@pytest.mark.parametrize("ids", [[2, 1], ["10", "20"], [1.0, 2.0]])
def test_figures_of_classes_that_would_come_under_other_names_are_refused(tmp_path, ids):
    write(tmp_path, "categories", ids)
    with pytest.raises(BadInputError, match=r"classwise=True .* number the categories"):
        check_data(config(tmp_path, evaluator=dict(classwise=True)), ("val",))
    if ids == [2, 1]:
        assert perfect(tmp_path, classwise=True, without=CLASSES[:1])["coco/box_precision"] == 1  # which is sphere's


def test_classes_in_rising_order_have_figures_of_their_own(tmp_path):
    write(tmp_path)
    check_data(config(tmp_path, evaluator=dict(classwise=True)), ("val",))
    assert perfect(tmp_path, classwise=True, without=CLASSES[:1])["coco/box_precision"] == 0


def test_text_ids_of_images_are_refused_where_they_are_read_letter_by_letter(tmp_path):
    write(tmp_path, "images", ["x1", "x2"])
    with pytest.raises(BadInputError, match="'proposal_fast' takes the text id 'x1'"):
        check_data(config(tmp_path, evaluator=dict(metric=["bbox", "proposal_fast"])), ("val",))


@pytest.mark.parametrize("numbers", [(100, 300), (300, 1000, 2000), 100])
def test_proposal_nums_that_leave_no_figure_are_refused(tmp_path, numbers):
    write(tmp_path)
    with pytest.raises(BadInputError, match=r"val_evaluator.proposal_nums=.* such as \(100, 300, 1000\)"):
        check_data(config(tmp_path, evaluator=dict(proposal_nums=numbers)), ("val",))


def crowded(root, *numbers):
    """An image with so many objects of each class."""
    content = write_coco(root, num_pictures=1)
    first = content["annotations"][0]
    content["annotations"] = [
        {**first, "id": 1 + place, "category_id": label, "bbox": [place % 40, place // 40, 5, 5]}
        for place, label in enumerate(label for label, number in enumerate(numbers, 1) for _ in range(number))
    ]
    write_annotations(root, content)


def told(cfg):
    lines = []
    check_data(cfg, ("val",), tell=lines.append)
    return lines


def test_more_objects_than_a_model_may_find_are_told_with_the_setting_and_the_number(tmp_path):
    model = dict(test_cfg=dict(rpn=dict(max_per_img=1000), rcnn=dict(max_per_img=100)), train_cfg=dict(max_per_img=1))
    crowded(tmp_path, 60, 61)
    (line,) = told(config(tmp_path, model=model))
    assert line.startswith("val: 1 of 1 images hold more objects than the model may find")
    assert "(model.test_cfg.rcnn.max_per_img=100)" in line
    assert "1.jpg (121); set model.test_cfg.rcnn.max_per_img to at least 121" in line
    model["test_cfg"]["rcnn"]["max_per_img"] = 121
    assert not told(config(tmp_path, model=model))
    (line,) = told(config(tmp_path, model=dict(num_queries=120)))
    assert "(model.num_queries=120)" in line


def test_more_objects_of_a_class_than_map_takes_are_told_and_do_change_it(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    crowded(few, 100)
    assert not told(config(few))
    assert perfect(few)["coco/bbox_mAP"] == 1
    crowded(many, 150)
    (line,) = told(config(many))
    assert "1 of 1 images hold more than 100 objects of a class" in line
    assert "1.jpg (150)" in line
    figures = perfect(many)
    assert figures["coco/bbox_mAP"] < 0.7
    assert figures["coco/bbox_mAP_50"] == 1
