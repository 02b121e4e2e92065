"""A data set is looked through whole: every problem is told with its file, and what is there is counted."""

import cv2
import numpy as np
import pytest
from tiny_coco import write_annotations, write_coco
from tiny_masks import mask_path, picture_path, write_masks

from effvit_mm.data_tool.check import check_data_set
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part, Target
from effvit_mm.data_tool.presentation import as_json, show
from effvit_mm.data_tool.targets import find_targets
from effvit_mm.depth import write_depth
from effvit_mm.engine.preflight import check_run
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError


def look(root, kind, sample=None, sheet=None):
    (target,) = find_targets(str(root), kind=kind)
    return check_data_set(target, Opening(sample), sheet)


def only_problem(root, kind, **options):
    (problem,) = look(root, kind, **options).problems
    return problem


def write_depth_pairs(root, names=("a/1", "a/2", "b/1"), depth=2.5):
    for name in names:
        picture = root / "images" / f"{name}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.zeros((6, 8, 3), np.uint8))
        measured = np.full((6, 8), depth)
        measured[:2] = 0
        write_depth(root / "depth" / f"{name}.png", measured)


def write_folders(root):
    for i, name in enumerate(("train/ape", "train/bee", "train/bee", "val/ape", "val/bee")):
        (root / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name / f"{i}.jpg"), np.full((5, 7, 3), 40 * i, np.uint8))


def test_boxes_are_counted_by_class_and_drawn(tmp_path):
    content = write_coco(tmp_path)
    content["annotations"].append({**content["annotations"][0], "id": 9, "bbox": [5, 5, 20, 20]})
    content["annotations"][1]["category_id"] = 2
    write_annotations(tmp_path, content)
    report = look(tmp_path, "coco", sheet=tmp_path / "new/sheet.png")
    assert report.is_fine
    (part,) = report.findings
    assert part.amounts == {"box": 3, "sphere": 1}
    assert part.pictures == {"box": 2, "sphere": 1}
    assert {count.what: count.found for count in part.counts}["picture files"] == 3
    assert cv2.imread(str(tmp_path / "new/sheet.png")).shape[1] > 1200


def annotation(**changes):
    return lambda root, content: content["annotations"][1].update(changes)


@pytest.mark.parametrize(
    ("damage", "kind", "file", "text"),
    [
        (annotation(bbox=[45, 3, 10, 12]), "box outside its picture", "annotation 2 of 2.jpg", "reaches 5 pixels"),
        (annotation(bbox=[-4, 3, 10, 12]), "box outside its picture", "annotation 2 of 2.jpg", "40 x 50 pixels"),
        (annotation(bbox=[2, 3, 10, 0]), "box without area", "annotation 2 of 2.jpg", "has no area"),
        (annotation(category_id=7), "unknown category", "annotation 2", "category_id 7"),
        (annotation(image_id=77), "unknown picture", "annotation 2", "image_id 77"),
        (annotation(segmentation=[]), "mask", "annotation 2 of 2.jpg", "segmentation is missing"),
        (lambda root, _: (root / "pictures/2.jpg").unlink(), "picture missing", "pictures/2.jpg", "is missing"),
        (lambda root, _: (root / "pictures/2.jpg").write_bytes(b"\xff"), "picture", "pictures/2.jpg", "torn"),
        (lambda _, content: content["images"][1].update(width=51), "picture", "pictures/2.jpg", "40 x 50 pixels"),
        (lambda _, content: content.pop("categories"), "annotation file", "boxes.json", "is not COCO's"),
    ],
    ids=["right", "left", "flat", "category", "image", "mask", "missing", "torn", "size", "file"],
)
def test_a_problem_of_coco_is_told_with_its_file(tmp_path, damage, kind, file, text):
    content = write_coco(tmp_path)
    damage(tmp_path, content)
    write_annotations(tmp_path, content)
    report = look(tmp_path, "coco")
    assert not report.is_fine
    (problem,) = [problem for problem in report.problems if problem.kind == kind]
    assert file in problem.file
    assert text in problem.text


def test_boxes_that_are_corners_are_recognised(tmp_path):
    content = write_coco(tmp_path)
    for entry in content["annotations"]:
        entry["bbox"] = [30, 20, 45, 38]
    write_annotations(tmp_path, content)
    assert any("corners" in note for note in look(tmp_path, "coco").findings[0].notes)


def test_the_flat_boxes_of_the_official_file_are_no_problem(tmp_path):
    content = write_coco(tmp_path)
    content["annotations"][1]["bbox"] = [2, 3, 10, 0]
    write_annotations(tmp_path, content)
    spec = dict(data_root=str(tmp_path), ann_file="boxes.json", data_prefix=dict(img="pictures"))
    part = Part("train", "coco", spec, known_empty=frozenset({2}))
    report = check_data_set(Target("coco", (part,)), Opening(), None)
    assert report.is_fine
    assert any("as in the official file" in note for note in report.findings[0].notes)


def test_another_number_than_the_official_one_is_no_whole_set(tmp_path):
    write_coco(tmp_path)
    spec = dict(data_root=str(tmp_path), ann_file="boxes.json", data_prefix=dict(img="pictures"))
    for expected, fine in ((3, True), (4, False)):
        part = Part("train", "coco", spec, dict(pictures=expected))
        assert check_data_set(Target("coco", (part,)), Opening(), None).is_fine is fine


def test_a_sample_opens_that_many_and_still_finds_every_missing_file(tmp_path):
    write_coco(tmp_path, num_pictures=6)
    (tmp_path / "pictures/5.jpg").unlink()
    report = look(tmp_path, "coco", sample=2)
    assert report.findings[0].num_opened == 2
    assert [problem.kind for problem in report.problems] == ["picture missing"]


def test_pixels_are_counted_by_class_and_left_out_ones_apart(tmp_path):
    write_masks(tmp_path, num_pictures=2, first=1)
    cfg = tmp_path / "semfpn_mine.py"
    report = check_data_set(config_of_masks(tmp_path, cfg), Opening(), tmp_path / "sheet.png")
    assert report.is_fine, report.problems
    amounts = report.findings[0].amounts
    assert amounts["floor"] == 2 * 40 * 10
    assert amounts["box"] == 20 * 4 + 20 * 8
    assert sum(amounts.values()) == 2 * 40 * 50
    assert (tmp_path / "sheet.png").is_file()


def test_a_sheet_that_cannot_be_written_costs_nothing_of_the_report(tmp_path, capsys):
    write_masks(tmp_path, num_pictures=2, first=1)
    (tmp_path / "sheet.png").mkdir()
    target = config_of_masks(tmp_path, tmp_path / "semfpn_mine.py")
    report = check_data_set(target, Opening(), tmp_path / "sheet.png")
    assert report.is_fine
    show(report)
    shown = capsys.readouterr().out
    assert f"{tmp_path}/sheet.png was not saved" in shown
    assert "give another --sheet" in shown
    assert "floor" in shown


def config_of_masks(root, file):
    """A config of three classes from 1 on, over the tiny masks."""
    from cases import ROOT

    file.write_text(f"""
_base_ = "{ROOT}/configs/ade20k/semfpn_anchorformer.py"
data = dict(_delete_=True, type="IndexMaskFolder", data_root="{root}", reduce_zero_label=True)
data.update(metainfo=dict(classes=("floor", "wall", "box")), pipeline=[dict(type="PackSegInputs")])
train_dataloader = dict(dataset=data)
prefix = dict(img_path="images/validation", seg_map_path="annotations/validation")
val_dataloader = dict(dataset=dict(data, data_prefix=prefix))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=3))
""")
    (target,) = find_targets(str(file))
    return target


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda root: cv2.imwrite(str(mask_path(root, 1)), np.full((40, 50), 9, np.uint8)), "value", "holds 9"),
        (
            lambda root: cv2.imwrite(str(mask_path(root, 1)), np.ones((40, 49), np.uint8)),
            "picture",
            "its mask is 40 x 49",
        ),
        (lambda root: mask_path(root, 1).write_bytes(b"\x89PNG"), "mask", "torn"),
        (lambda root: mask_path(root, 1).unlink(), "mask missing", "has no mask"),
        (lambda root: picture_path(root, 1).write_bytes(b""), "picture", "torn or no picture"),
    ],
    ids=["value", "size", "torn", "alone", "picture"],
)
def test_a_problem_of_masks_is_told_with_its_file(tmp_path, damage, kind, text):
    write_masks(tmp_path, first=1)
    damage(tmp_path)
    (problem,) = check_data_set(config_of_masks(tmp_path, tmp_path / "semfpn_mine.py"), Opening(), None).problems
    assert problem.kind.startswith(kind)
    assert "street_1" in problem.file
    assert text in problem.text


def config_of_boxes(root, file, line):
    """A config of Mask R-CNN over the tiny boxes, and a line that follows it."""
    from cases import ROOT

    file.write_text(f"""
_base_ = "{ROOT}/configs/coco/maskrcnn_anchorformer.py"
data = dict(data_root="{root}", ann_file="boxes.json", data_prefix=dict(img="pictures/"))
data.update(metainfo=dict(classes=("box", "sphere")))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="{root}/boxes.json")
test_evaluator = val_evaluator
model = dict(roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)))
{line}
""")
    return file


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("", None),
        (
            "model['roi_head']['mask_head'] = dict(num_classes=80)",
            "mask_head.num_classes=80, but the train data set",
        ),
        ("model['roi_head'] = dict(bbox_head=dict(num_classes=4))", "bbox_head.num_classes=4, but the train data set"),
        ("model['neck'] = dict(in_channels=[1, 2, 3, 4])", "expects in_channels=[1, 2, 3, 4], but the backbone"),
        ("default_hooks = dict(checkpoint=dict(intervall=1))", "checkpoint.intervall is no argument of the hook"),
    ],
)
def test_what_stops_a_run_is_told_by_the_tool_in_the_same_words(tmp_path, line, refusal):
    write_coco(tmp_path / "rooms")
    file = config_of_boxes(tmp_path / "rooms", tmp_path / "maskrcnn_mine.py", line)
    (target,) = find_targets(str(file))
    assert bool(target.refusals) is bool(refusal)
    if refusal:
        with pytest.raises(BadInputError) as caught:
            check_run(load_config(file), ("train", "val"))
        assert target.refusals == (str(caught.value),)
        assert refusal in target.refusals[0]


def test_what_a_run_would_refuse_beside_files_is_told(tmp_path):
    write_masks(tmp_path, first=1)
    file = tmp_path / "semfpn_mine.py"
    config_of_masks(tmp_path, file)
    file.write_text(file.read_text().replace("num_classes=3", "num_classes=4"))
    (target,) = find_targets(str(file))
    report = check_data_set(target, Opening(), None)
    assert "set num_classes=3" in report.refusals[0]
    assert not report.is_fine


def test_what_a_run_says_of_its_splits_together_is_told_by_the_tool_in_the_same_words(tmp_path, capsys):
    write_coco(tmp_path / "rooms")
    file = config_of_boxes(tmp_path / "rooms", tmp_path / "maskrcnn_mine.py", "")
    (target,) = find_targets(str(file))
    report = check_data_set(target, Opening(), None)
    lines = []
    check_run(load_config(file), ("train", "val"), tell=lines.append)
    (shared,) = [line for line in lines if "also learnt from" in line]
    assert [line for line in report.notes if "also learnt from" in line] == [shared]
    show(report)
    assert shared in capsys.readouterr().out
    assert shared in as_json(report)["notes"]


def test_a_bare_folder_of_masks_shows_the_values_that_occur(tmp_path):
    write_masks(tmp_path)
    report = look(tmp_path, "masks")
    assert [part.split for part in report.findings] == ["training", "validation"]
    assert report.findings[0].amounts.keys() == {"value 0", "value 1", "value 2"}


def test_depth_is_counted_by_its_range(tmp_path):
    write_depth_pairs(tmp_path)
    report = look(tmp_path, "depth", sheet=tmp_path / "sheet.png")
    assert report.is_fine, report.problems
    amounts = report.findings[0].amounts
    assert {name: count for name, count in amounts.items() if count} == {"not measured": 48, "0 to 8 m": 96}
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda root: (root / "depth/a/2.png").unlink(), "file missing", "is missing"),
        (lambda root: write_depth(root / "depth/a/2.png", np.zeros((6, 8))), "depth map", "holds no depth"),
        (lambda root: cv2.imwrite(str(root / "depth/a/2.png"), np.ones((6, 8), np.uint8)), "depth map", "8 bits"),
        (lambda root: write_depth(root / "depth/a/2.png", np.ones((8, 6))), "picture", "its depth map is 8 x 6"),
    ],
    ids=["missing", "empty", "bits", "size"],
)
def test_a_problem_of_depth_is_told_with_its_file(tmp_path, damage, kind, text):
    write_depth_pairs(tmp_path)
    damage(tmp_path)
    problem = only_problem(tmp_path, "depth")
    assert problem.kind == kind
    assert "a/2" in problem.file
    assert text in problem.text


def test_metres_read_as_millimetres_are_told(tmp_path):
    write_depth_pairs(tmp_path, depth=0.004)
    problem = only_problem(tmp_path, "depth")
    assert problem.kind == "unit"
    assert "as metres 4 m" in problem.text


def test_class_folders_are_counted_and_named_on_the_sheet(tmp_path):
    write_folders(tmp_path)
    report = look(tmp_path, "folders", sheet=tmp_path / "sheet.png")
    assert report.is_fine
    assert [part.amounts for part in report.findings] == [{"ape": 1, "bee": 2}, {"ape": 1, "bee": 1}]
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda root: (root / "val/ape/3.jpg").rename(root / "val/3.jpg"), {"empty class", "outside a class"}),
        (lambda root: (root / "val/ape").rename(root / "val/ant"), {"other classes"}),
        (lambda root: (root / "val/ape/3.jpg").write_bytes(b"no picture"), {"picture"}),
    ],
    ids=["unsorted", "renamed", "torn"],
)
def test_a_problem_of_class_folders_is_told(tmp_path, damage, kind):
    write_folders(tmp_path)
    damage(tmp_path)
    assert {problem.kind for problem in look(tmp_path, "folders").problems} == kind


def test_a_list_with_labels_beyond_the_classes_and_missing_pictures_is_told(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "list.txt").write_text("ape/0.jpg 0\nbee/1.jpg 2\nbee/x.jpg 1\n")
    spec = dict(folder=str(tmp_path / "train"), ann_file=str(tmp_path / "list.txt"), classes=("ape", "bee"))
    report = check_data_set(Target("own", (Part("train", "folders", spec),)), Opening(), None)
    assert [problem.kind for problem in report.problems] == ["label that is no class", "picture missing"]


@pytest.mark.parametrize(
    ("what", "places"),
    [
        ("coco", ["annotations/instances_val2017.json", "train2017", "cocodataset.org", "prepare coco"]),
        ("ade20k", ["images/validation", "annotations/training", "sceneparsing.csail.mit.edu", "prepare ade20k"]),
        ("nyu", ["nyu_test.txt", "official_splits/test", "prepare nyu"]),
        ("imagenet", ["train/n01440764", "image-net.org", "prepare imagenet"]),
    ],
)
def test_a_missing_benchmark_is_answered_with_its_layout_and_source(tmp_path, what, places):
    (target,) = find_targets(what, tmp_path)
    report = check_data_set(target, Opening(), tmp_path / "sheet.png")
    assert not report.is_fine
    assert all(count.found is None for part in report.findings for count in part.counts)
    assert all(place in report.layout for place in places)
    assert report.sheet is None


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("cocoo", {}, "did you mean 'coco'"),
        ("{root}", {}, "--format coco, masks, depth or folders"),
        ("{root}/none", dict(kind="masks"), "does not exist"),
        ("toy", {}, "prepare toy --root"),
    ],
)
def test_what_cannot_be_looked_through_is_answered_with_what_can(tmp_path, what, options, message):
    root = tmp_path if what == "toy" else None
    with pytest.raises(BadInputError, match=message):
        find_targets(what.format(root=tmp_path), root, **options)
