"""Figures are of the images that are predicted: files and paths are compared as what they are."""

import copy
import json

import pytest
from cases import ROOT
from mmengine.config import Config
from tiny_coco import CLASSES, write_coco

from effvit_mm.engine.data_check import check_data
from effvit_mm.engine.run import load_config
from effvit_mm.errors import BadInputError

MASKRCNN = ROOT / "configs/coco/maskrcnn_anchorformer.py"
SPLITS = pytest.mark.parametrize("split", ["val", "test"])


def config(root, split="val"):
    dataset = dict(
        type="CocoDataset",
        data_root=str(root),
        ann_file="boxes.json",
        data_prefix=dict(img="pictures/"),
        metainfo=dict(classes=CLASSES),
    )
    sections = {}
    for name in {"val", split}:
        sections[f"{name}_dataloader"] = dict(dataset=copy.deepcopy(dataset))
        sections[f"{name}_evaluator"] = dict(type="CocoMetric", ann_file=f"{root}/boxes.json")
    return Config(sections)


def write(root, content, name="other.json"):
    (root / name).write_text(json.dumps(content))
    return str(root / name)


def renamed(content):
    for image in content["images"]:
        image["file_name"] = f"other_{image['file_name']}"


def resized(content):
    content["images"][1]["height"] += 1


def longer(content):
    content["images"].append(dict(id=9, file_name="9.jpg", height=40, width=50))


@SPLITS
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed, r"has other images than .*boxes.json, .* 3 of 3 ids: 1 is other_1.jpg \(40 x 50\) there, and 1.jpg"),
        (resized, r".* under 1 of 3 ids: 2 is 2.jpg \(41 x 50\) there, and 2.jpg \(40 x 50\) here"),
        (longer, r"has 1 images more than \w+_dataloader takes of .*: 9.jpg"),
        (lambda content: content["images"].pop(), "lacks 1 of the 3 pictures"),
    ],
)
def test_a_file_with_the_same_ids_for_other_images_is_refused(tmp_path, split, change, said):
    content = write_coco(tmp_path)
    change(content)
    cfg = config(tmp_path, split)
    cfg[f"{split}_evaluator"].ann_file = write(tmp_path, content)
    # Both splits read one file: the second is looked at all the same.
    with pytest.raises(BadInputError, match=rf"{split}_evaluator.ann_file .*other.json {said}"):
        check_data(cfg, tuple(dict.fromkeys(("val", split))))


def test_a_file_of_the_same_images_is_fine_however_it_writes_their_paths(tmp_path):
    content = write_coco(tmp_path)
    cfg = config(tmp_path)
    for name in ("./{}", "pictures/{}", "wrong/../{}", f"{tmp_path}/pictures/{{}}"):
        other = copy.deepcopy(content)
        for image in other["images"]:
            image["file_name"] = name.format(image["file_name"])
        cfg.val_evaluator.ann_file = write(tmp_path, other)
        check_data(cfg, ("val",), open_pictures=False)


def test_other_objects_in_the_evaluators_file_are_told(tmp_path):
    content = write_coco(tmp_path)
    content["annotations"][0]["bbox"][2] += 1
    cfg, told = config(tmp_path), []
    cfg.val_evaluator.ann_file = write(tmp_path, content)
    check_data(cfg, ("val",), tell=told.append)
    assert [note for note in told if note.startswith("val: 1 of the 3 images have other objects in val_evaluator")]


def test_the_file_of_another_split_is_refused_even_where_names_and_sizes_agree(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path / "learnt")
    cfg = config(tmp_path)
    cfg.train_dataloader = copy.deepcopy(cfg.val_dataloader)
    cfg.train_dataloader.dataset.data_root = str(tmp_path / "learnt")
    cfg.val_evaluator.ann_file = str(tmp_path / "learnt/boxes.json")
    with pytest.raises(BadInputError, match=r"is the file of train_dataloader.dataset, whose images lie in .*learnt"):
        check_data(cfg, ("val",))


@SPLITS
@pytest.mark.parametrize("own_file", [True, False])
def test_two_files_with_the_same_ids_and_one_evaluator_are_refused(tmp_path, split, own_file):
    write_coco(tmp_path)
    write_coco(tmp_path / "more")
    cfg = config(tmp_path, split)
    second = copy.deepcopy(cfg[f"{split}_dataloader"].dataset)
    second.data_root = str(tmp_path / "more")
    cfg[f"{split}_dataloader"].dataset = dict(
        type="ConcatDataset", datasets=[cfg[f"{split}_dataloader"].dataset, second]
    )
    if not own_file:
        del cfg[f"{split}_evaluator"]["ann_file"]
    with pytest.raises(BadInputError, match=r"3 ids of images of .*more/boxes.json are also in .*such as 1 \(1.jpg\)"):
        check_data(cfg, (split,))


def test_two_files_whose_ids_differ_are_measured_with_one_of_both(tmp_path):
    content, second = write_coco(tmp_path), write_coco(tmp_path / "more", num_pictures=2)
    for shift in (second["images"], second["annotations"]):
        for entry in shift:
            for key in {"id", "image_id"} & entry.keys():
                entry[key] += 10
    write(tmp_path / "more", second, "boxes.json")
    cfg = config(tmp_path)
    other = copy.deepcopy(cfg.val_dataloader.dataset)
    other.data_root = str(tmp_path / "more")
    cfg.val_dataloader.dataset = dict(type="ConcatDataset", datasets=[cfg.val_dataloader.dataset, other])
    with pytest.raises(BadInputError, match="lacks 2 of the 5 pictures"):
        check_data(cfg, ("val",))
    both = {key: content[key] + second[key] for key in ("images", "annotations")}
    cfg.val_evaluator.ann_file = write(tmp_path, {**content, **both})
    check_data(cfg, ("val",))
    del cfg.val_evaluator["ann_file"]
    check_data(cfg, ("val",))


def test_a_loader_that_takes_the_first_images_of_the_evaluators_file_is_refused(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    cfg.val_dataloader.dataset.indices = 2
    with pytest.raises(BadInputError, match="has 1 images more than val_dataloader takes"):
        check_data(cfg, ("val",))


def test_every_evaluator_and_data_set_that_is_missing_has_its_line(tmp_path):
    write_coco(tmp_path)
    cfg = config(tmp_path)
    there = cfg.val_evaluator
    cfg.val_evaluator = [dict(there, ann_file=str(tmp_path / "a.json")), there]
    with pytest.raises(BadInputError, match=r"a.json +MISSING"):
        check_data(cfg, ("val",))
    lost = dict(cfg.val_dataloader.dataset, ann_file="lost.json")
    cfg.val_dataloader.dataset = dict(type="ConcatDataset", datasets=[lost, cfg.val_dataloader.dataset])
    with pytest.raises(BadInputError, match=r"lost.json +MISSING"):
        check_data(cfg, ("val",))


def moved(tmp_path, lines):
    file = tmp_path / "maskrcnn_mine.py"
    file.write_text(f"_base_ = {str(MASKRCNN)!r}\n{lines}\n")
    return load_config(file, data_root=tmp_path / "new")


@pytest.mark.parametrize(
    ("root", "file", "expected"),
    [
        ("./own/", "own/val.json", "new/val.json"),
        ("own", "./own//val.json", "new/val.json"),
        ("own/../own/", "own/val.json", "new/val.json"),
        ("own", "own_labels/val.json", None),
        ("own", "elsewhere/val.json", None),
    ],
)
@pytest.mark.parametrize("metric", ["CocoMetric", "LVISMetric", "CrowdHumanMetric"])
def test_a_moved_root_takes_the_files_below_it_along_and_no_others(tmp_path, root, file, expected, metric):
    evaluator = f"val_evaluator = dict(type={metric!r}, ann_file={file!r})\ntest_evaluator = val_evaluator"
    cfg = moved(tmp_path, f"val_dataloader = dict(dataset=dict(data_root={root!r}))\n{evaluator}")
    assert cfg.val_evaluator.ann_file == (str(tmp_path / expected) if expected else file)


def test_files_named_in_full_move_with_their_root(tmp_path):
    root = "/old/data"
    lines = f"data_root={root!r}, ann_file='{root}/val.json', data_prefix=dict(img='{root}/images/')"
    cfg = moved(tmp_path, f"val_dataloader = dict(dataset=dict({lines}))")
    assert cfg.val_dataloader.dataset.ann_file == str(tmp_path / "new/val.json")
    assert cfg.val_dataloader.dataset.data_prefix.img == f"{tmp_path}/new/images/"


def test_roots_that_would_become_one_and_configs_without_a_root_are_refused(tmp_path):
    one = "dict(type='CocoDataset', data_root='{}', ann_file='val.json', data_prefix=dict(img='images/'))"
    both = f"dict(_delete_=True, type='ConcatDataset', datasets=[{one.format('a')}, {one.format('b')}])"
    with pytest.raises(BadInputError, match=r"that their roots alone tell apart \(a and b\)"):
        moved(tmp_path, f"val_dataloader = dict(dataset={both})")
    bare = "dict(dataset=dict(_delete_=True, type='CocoDataset', ann_file='val.json'))"
    lines = "".join(f"{split}_dataloader = {bare}\n" for split in ("train", "val", "test"))
    with pytest.raises(BadInputError, match="no data set of the config has one"):
        moved(tmp_path, lines)
