"""What training leaves out of COCO's format is counted and named; where nothing is left to learn, it is refused."""

import pytest
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_coco import CLASSES, write_annotations, write_coco

from effvit_mm.data_tool.check import check_data_set
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part, Target
from effvit_mm.engine.coco_use import learnt_from
from effvit_mm.engine.data_check import check_data
from effvit_mm.errors import BadInputError

RUN_LENGTHS = {"size": [40, 50], "counts": [100, 50, 1850]}
ODD = [[2, 3, 12, 3, 12, 15, 2]]
CORNERS_ALONE = [[2, 3, 12, 15]]


def spec(root, *, masks=True, poly2mask=True, classes=CLASSES, **options):
    load = dict(type="LoadAnnotations", with_bbox=True, with_mask=masks, poly2mask=poly2mask)
    files = dict(data_root=str(root), ann_file="boxes.json", data_prefix=dict(img="pictures/"))
    return dict(type="CocoDataset", **files, metainfo=dict(classes=classes), pipeline=[load], **options)


def told(dataset, splits=("train",), **sections):
    lines = []
    cfg = Config({**{f"{split}_dataloader": dict(dataset=dataset) for split in splits}, **sections})
    check_data(cfg, splits, tell=lines.append)
    return lines


def in_tool(dataset):
    return check_data_set(Target("own", (Part("train", "coco", dataset),)), Opening(), None)


def changed(root, *changes, num_pictures=3):
    """A data set whose annotations after the first are changed, one each."""
    content = write_coco(root, num_pictures)
    for entry, change in zip(content["annotations"][1:], changes, strict=False):
        entry.update(change)
    write_annotations(root, content)
    return content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dict(iscrowd=1, segmentation=RUN_LENGTHS), "crowds (iscrowd=1)"),
        (dict(segmentation=ODD), "every polygon has fewer than 6 or an odd number of values"),
        (dict(segmentation=CORNERS_ALONE), "every polygon has fewer than 6 or an odd number of values"),
        (dict(ignore=1), "marked as ignore"),
        (dict(area=0), "area 0, a side under a pixel, or outside the image"),
        (dict(bbox=[2, 3, 0.5, 9]), "area 0, a side under a pixel, or outside the image"),
    ],
)
def test_what_training_passes_over_is_counted_by_why_and_named_and_refused_where_it_is_all(tmp_path, change, reason):
    content = changed(tmp_path, {}, change)
    note = f"1 of 3 annotations are left out in training: {reason}"
    (line,) = [line for line in told(spec(tmp_path)) if "left out" in line]
    assert line.startswith(f"train: {note}")
    assert line.endswith(": id 3")
    report = in_tool(spec(tmp_path))
    assert [entry for entry in report.findings[0].notes if "left out" in entry] == [line.removeprefix("train: ")]
    for entry in content["annotations"]:
        entry.update(change)
    write_annotations(tmp_path, content)
    with pytest.raises(BadInputError, match=r"left to learn from \(left out are 3 annotations") as caught:
        told(spec(tmp_path))
    assert reason in str(caught.value)
    (problem,) = [problem for problem in in_tool(spec(tmp_path)).problems if problem.kind == "nothing to learn from"]
    assert reason in problem.text
    kinds = {problem.kind for problem in in_tool({**spec(tmp_path), "test_mode": True}).problems}
    assert ("nothing to measure" in kinds) is ("polygon" not in reason)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("poly2mask", [False, True])
def test_what_is_said_to_be_left_is_what_mmdet_learns_from(tmp_path, masks, poly2mask):
    """The right values are those of mmdet's own data set and loading."""
    odd = [dict(iscrowd=1), dict(segmentation=ODD), dict(segmentation=CORNERS_ALONE), dict(segmentation=RUN_LENGTHS)]
    odd += [
        dict(segmentation=[*ODD, [2, 3, 12, 3, 12, 15]]),
        dict(ignore=True),
        dict(area=0),
        dict(bbox=[49, 39, 0, 3]),
    ]
    content = changed(tmp_path, *odd, num_pictures=len(odd) + 2)
    content["images"][-1].update(height=20, width=60)
    write_annotations(tmp_path, content)
    rule = dict(filter_empty_gt=True, min_size=32)
    dataset = spec(tmp_path, masks=masks, poly2mask=poly2mask, filter_cfg=rule)
    with DefaultScope.overwrite_default_scope("mmdet"):
        built = DATASETS.build({**dataset, "pipeline": []})
        load = TRANSFORMS.build(dataset["pipeline"][0])
    learnt = []
    for info in (built.get_data_info(i) for i in range(len(built))):
        results = load({**info, "ori_shape": (info["height"], info["width"])})
        if not results["gt_ignore_flags"].all():
            learnt.append(info["img_id"])
    loaded = "" if not masks else "bitmaps" if poly2mask else "polygons"
    left, _ = learnt_from(dataset, content, [1, 2], loaded)
    assert [entry["image_id"] for entry in left] == learnt
    assert 1 <= len(learnt) < len(odd)


@pytest.mark.parametrize("key", ["width", "height"])
def test_images_that_are_too_small_or_empty_are_counted_and_named(tmp_path, key):
    content = write_coco(tmp_path, num_pictures=6)
    for image in content["images"][:3]:
        image[key] = 31
    content["annotations"].pop()
    write_annotations(tmp_path, content)
    dataset = spec(tmp_path, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    lines = in_tool(dataset).findings[0].notes
    small = "3 of 6 images are left out in training: a side under 32 pixels (filter_cfg.min_size): 1.jpg, 2.jpg, 3.jpg"
    assert small in lines
    assert any("1 of 6 images are left out in training: no annotation of the classes" in line for line in lines)
    assert not any("images are left out" in line for line in in_tool({**dataset, "test_mode": True}).findings[0].notes)
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    lines = []
    with pytest.raises(BadInputError, match="cannot be used"):  # as the files are of another size than is said here
        check_data(cfg, ("train",), tell=lines.append)
    assert f"train: {small}" in lines


def test_categories_that_the_config_leaves_out_are_told_with_their_annotations(tmp_path):
    changed(tmp_path, dict(category_id=2), dict(category_id=2))
    (line,) = told(spec(tmp_path, classes=("box",)))
    assert line.startswith("train: 1 of 2 categories of the file are left out")
    assert line.endswith(": sphere (2)")
    assert not told(spec(tmp_path))


def test_whole_data_has_nothing_told(tmp_path):
    write_coco(tmp_path / "train")
    write_coco(tmp_path / "val")
    cfg = Config(dict(train_dataloader=dict(dataset=spec(tmp_path / "train"))))
    cfg.val_dataloader = dict(dataset=spec(tmp_path / "val"))
    lines = []
    check_data(cfg, ("train", "val"), tell=lines.append)
    assert not lines


def test_images_that_training_and_validation_share_are_told(tmp_path):
    content = write_coco(tmp_path)
    (line,) = told(spec(tmp_path), ("train", "val"))
    assert line.startswith(f"3 of the 3 images of {tmp_path}/boxes.json are also learnt from (both read ")
    (tmp_path / "more").mkdir()
    content["images"] = [dict(id=9, file_name="more/../2.jpg", height=40, width=50)]
    content["annotations"] = [{**content["annotations"][0], "image_id": 9}]
    (tmp_path / "pictures/more").mkdir()
    write_annotations(tmp_path / "more", content)
    other = {**spec(tmp_path), "ann_file": "more/boxes.json", "data_root": f"{tmp_path}/"}
    cfg = Config(dict(train_dataloader=dict(dataset=spec(tmp_path)), test_dataloader=dict(dataset=other)))
    lines = []
    check_data(cfg, ("train", "test"), tell=lines.append)
    (line,) = lines
    assert line.startswith(
        f"1 of the 1 images of {tmp_path}/more/boxes.json are also learnt from ({tmp_path}/boxes.json"
    )
