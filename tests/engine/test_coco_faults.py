"""Faults of single annotations are told alike before training and by the data tool; corners are refused."""

import pytest
from mmengine.config import Config
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.data_tool.check import check_data_set
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part, Target
from effvit_mm.engine.coco_joined import joined_far
from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError


def spec(root):
    files = dict(data_root=str(root), ann_file="boxes.json", data_prefix=dict(img="pictures/"))
    return dict(type="CocoDataset", **files, metainfo=dict(classes=CLASSES), pipeline=[])


def told(root):
    lines = []
    check_data(Config(dict(train_dataloader=dict(dataset=spec(root)))), ("train",), tell=lines.append)
    return lines


@pytest.mark.parametrize(
    "change", [dict(bbox=[45, 3, 10, 12]), dict(bbox=[2, 3, 10, 0]), dict(category_id=7), dict(image_id=77)]
)
def test_a_fault_is_told_before_training_in_the_words_of_the_data_tool(tmp_path, change):
    content = write_coco(tmp_path)
    content["annotations"][1].update(change)
    write_annotations(tmp_path, content)
    report = check_data_set(Target("own", (Part("train", "coco", spec(tmp_path)),)), Opening(), None)
    (problem,) = report.problems
    place = problem.file.removeprefix(f"{tmp_path}/boxes.json, ")
    assert f"train: {problem.kind}: 1 of 3 annotations, first {place}: {problem.text}" in told(tmp_path)


def test_corner_boxes_are_refused_and_a_few_boxes_outside_are_not(tmp_path):
    content = write_coco(tmp_path)
    for entry, box in zip(content["annotations"], ([30, 20, 45, 38], [20, 20, 49, 40], [1, 1, 11, 12]), strict=True):
        entry["bbox"] = box
    write_annotations(tmp_path, content)
    with pytest.raises(
        BadInputError, match=r"look like corners \[x1, y1, x2, y2\].*width and height of each, x2 - x1 and y2 - y1"
    ):
        told(tmp_path)
    content["annotations"][0]["bbox"] = [2, 3, 10, 12]
    write_annotations(tmp_path, content)
    (line,) = told(tmp_path)
    assert "box outside its picture: 1 of 3 annotations" in line


def square(x, y, side=20):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


BRIDGED = [0, 0, 20, 0, 20, 10, 120, 10, 120, 5, 140, 5, 140, 25, 120, 25, 120, 10, 20, 10, 20, 20, 0, 20]


@pytest.mark.parametrize(
    ("polygons", "far"),
    [
        ([square(0, 0), square(120, 5)], True),
        ([BRIDGED], True),
        ([square(0, 0), square(120, 5), square(60, 3)], False),  # an object behind bars
        ([square(0, 0), square(50, 5)], False),
        ([square(0, 0), square(120, 5, 4)], False),  # a crumb
        ([square(0, 0, 140)], False),
        ([[0, 0, 140, 130, 140, 140, 0, 4]], False),  # a pole
        ([[1, 1, 1, 1, 1, 1]], False),
    ],
)
@pytest.mark.parametrize("of_the_box", [False, True])
def test_polygons_that_join_far_parts_are_told_from_those_of_one_object(polygons, far, of_the_box):
    """Areas are the polygons' or, as many programs write them, the box's."""
    x, y = ([value for polygon in polygons for value in polygon[start::2]] for start in (0, 1))
    box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    entry = dict(id=1, bbox=box, area=box[2] * box[3] if of_the_box else 790, segmentation=polygons)
    assert bool(list(joined_far([entry]))) is far
    assert not list(joined_far([{**entry, "iscrowd": 1}]))
