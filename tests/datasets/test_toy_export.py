"""Toy scenes on disk: the layouts agree with the scenes and with each other, and a folder is whole or absent."""

import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from effvit_mm.datasets import toy_export
from effvit_mm.datasets.toy_export import MANIFEST, OBJECT_CLASSES, SEMANTIC_CLASSES, ensure_toy_scenes, scene_seed
from effvit_mm.datasets.toy_layouts import object_crop
from effvit_mm.datasets.toy_scenes import render_scene

SIZE = (80, 112)
TRAIN_IDS, VAL_IDS = (1, 2, 3, 4), (5, 6)
SPLIT_OF_ID = {**dict.fromkeys(TRAIN_IDS, "train"), **dict.fromkeys(VAL_IDS, "val")}
PARAMETERS = {"num_train": len(TRAIN_IDS), "num_val": len(VAL_IDS), "size": SIZE, "seed": 5, "num_workers": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ensure_toy_scenes(tmp_path_factory.mktemp("sets") / "toy", **PARAMETERS)


@pytest.fixture(scope="module")
def scenes():
    seeds = [scene_seed(5, "train", index) for index in range(4)] + [scene_seed(5, "val", index) for index in range(2)]
    return {image_id: render_scene(seed, SIZE) for image_id, seed in zip(TRAIN_IDS + VAL_IDS, seeds, strict=True)}


def coco_of(root, split):
    return COCO(root / "coco" / "annotations" / f"instances_{split}2017.json")


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def read_rgb(path):
    return cv2.imread(str(path))[..., ::-1]


def test_training_and_validation_never_share_a_seed():
    seeds = [scene_seed(s, split, i) for s in (0, 1, 2) for split in ("train", "val") for i in (0, 1, 2, 2**32 - 1)]
    assert len(set(seeds)) == len(seeds)


def test_the_files_do_not_depend_on_the_number_of_workers(root, tmp_path):
    other = ensure_toy_scenes(tmp_path / "again", **{**PARAMETERS, "num_workers": 2})
    assert contents(other) == contents(root)


def test_another_seed_gives_other_files(root, tmp_path):
    other = ensure_toy_scenes(tmp_path / "other", **{**PARAMETERS, "seed": 6})
    name = "coco/train2017/000000000001.jpg"
    assert contents(other).keys() >= {name}
    assert contents(other)[name] != contents(root)[name]


# pycocotools 2.0.11 decodes through an array protocol that numpy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize(("split", "image_ids"), [("train", TRAIN_IDS), ("val", VAL_IDS)])
def test_coco_masks_decode_to_the_instances(root, scenes, split, image_ids):
    coco = coco_of(root, split)
    assert tuple(coco.getImgIds()) == image_ids
    for image_id in image_ids:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert [OBJECT_CLASSES[a["category_id"] - 1] for a in annotations] == list(scenes[image_id].labels)
        for number, annotation in enumerate(annotations, start=1):
            mask = scenes[image_id].instances == number
            rows, cols = np.nonzero(mask)
            assert (coco_mask.decode(annotation["segmentation"]).astype(bool) == mask).all()
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert annotation["iscrowd"] == 0


def test_coco_categories_keep_their_order(root):
    for split in ("train", "val"):
        categories = coco_of(root, split).dataset["categories"]
        assert [(category["id"], category["name"]) for category in categories] == list(enumerate(OBJECT_CLASSES, 1))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_ground_truth_as_detections_scores_an_average_precision_of_one(root, kind):
    coco = coco_of(root, "train")
    keys = ("image_id", "category_id", "bbox", "segmentation")
    found = coco.loadRes([{**{key: a[key] for key in keys}, "score": 1.0} for a in coco.dataset["annotations"]])
    evaluation = COCOeval(coco, found, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_the_pictures_are_the_rendered_ones_up_to_jpeg(root, scenes):
    for image_id, split in SPLIT_OF_ID.items():
        picture = read_rgb(root / "coco" / f"{split}2017" / f"{image_id:012d}.jpg")
        assert np.abs(picture.astype(float) - scenes[image_id].image).mean() < 4


def test_ade20k_masks_hold_the_semantic_classes_from_one(root, scenes):
    for image_id, split in SPLIT_OF_ID.items():
        folder = {"train": "training", "val": "validation"}[split]
        name = f"scene_{image_id:05d}"
        mask = cv2.imread(str(root / "ade20k/annotations" / folder / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8
        assert (mask == scenes[image_id].semantics + 1).all()
        assert (root / "ade20k/images" / folder / f"{name}.jpg").is_file()
    assert (root / "ade20k/classes.txt").read_text().split() == list(SEMANTIC_CLASSES)


@pytest.mark.parametrize(
    ("listing", "folder", "slash", "image_ids"),
    [("nyu_train.txt", "sync", True, TRAIN_IDS), ("nyu_test.txt", "official_splits/test", False, VAL_IDS)],
)
def test_lines_of_the_depth_lists_lead_to_the_scenes(root, scenes, listing, folder, slash, image_ids):
    lines = (root / "nyu" / listing).read_text().splitlines()
    assert len(lines) == len(image_ids)
    for line, image_id in zip(lines, image_ids, strict=True):
        picture, depth, focal = line.split()
        assert picture.startswith("/") == depth.startswith("/") == slash
        assert float(focal) == pytest.approx(scenes[image_id].focal, abs=1e-3)
        values = cv2.imread(str(root / "nyu" / folder / depth.lstrip("/")), cv2.IMREAD_UNCHANGED)
        assert values.dtype == np.uint16
        assert np.abs(values / 1000 - scenes[image_id].depth).max() <= 0.5e-3 + 1e-6
        assert read_rgb(root / "nyu" / folder / picture.lstrip("/")).shape == (*SIZE, 3)


def test_both_nyu_layouts_hold_the_same_bytes(root):
    files = contents(root / "nyu")
    for image_id, split in SPLIT_OF_ID.items():
        name, phase = f"scene_{image_id:05d}", {"train": "train", "val": "test"}[split]
        source = {"train": "sync", "val": "official_splits/test"}[split]
        assert files[f"images/{phase}/{name}.jpg"] == files[f"{source}/{name}/rgb_00000.jpg"]
        assert files[f"annotations/{phase}/{name}.png"] == files[f"{source}/{name}/sync_depth_00000.png"]


def test_each_picture_gives_one_square_crop_in_the_folder_of_its_class(root, scenes):
    for image_id, split in SPLIT_OF_ID.items():
        label, crop = object_crop(scenes[image_id])
        paths = list((root / "imagenet" / split).glob(f"*/scene_{image_id:05d}.jpg"))
        assert [path.parent.name for path in paths] == [label]
        stored = read_rgb(paths[0])
        assert stored.shape == crop.shape
        assert stored.shape[0] == stored.shape[1] >= 9


def test_a_crop_holds_all_that_shows_of_a_hardly_hidden_object(scenes):
    for scene in scenes.values():
        numbered = replace(scene, image=np.repeat(scene.instances[..., None], 3, axis=2).astype(np.uint8))
        label, crop = object_crop(numbered)
        whole = {
            number
            for number in range(1, len(scene.labels) + 1)
            if (crop == number).sum() == 3 * (scene.instances == number).sum()
        }
        best = max(scene.visible_ratios)
        assert any(scene.labels[n - 1] == label and scene.visible_ratios[n - 1] > best - 0.1 for n in whole)


def test_a_second_call_writes_nothing(root):
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    assert ensure_toy_scenes(root, **PARAMETERS) == root
    assert {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))} == before


def test_other_parameters_replace_the_folder(tmp_path):
    root = ensure_toy_scenes(tmp_path / "toy", **{**PARAMETERS, "num_train": 2})
    ensure_toy_scenes(root, **{**PARAMETERS, "num_train": 1})
    assert [path.name for path in (root / "coco/train2017").iterdir()] == ["000000000001.jpg"]
    assert list(tmp_path.iterdir()) == [root]


def test_another_format_version_replaces_the_folder(tmp_path, monkeypatch):
    root = ensure_toy_scenes(tmp_path / "toy", **PARAMETERS)
    monkeypatch.setattr(toy_export, "FORMAT_VERSION", 10**6)
    ensure_toy_scenes(root, **PARAMETERS)
    assert json.loads((root / MANIFEST).read_text())["format_version"] == 10**6


def fail_at_the_third_scene(monkeypatch):
    calls = []

    def render(seed, size):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render_scene(seed, size)

    monkeypatch.setattr(toy_export, "render_scene", render)


def test_an_interrupted_call_leaves_nothing_behind(tmp_path, monkeypatch):
    fail_at_the_third_scene(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        ensure_toy_scenes(tmp_path / "toy", **PARAMETERS)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_keeps_the_old_folder(tmp_path, monkeypatch):
    root = ensure_toy_scenes(tmp_path / "toy", **PARAMETERS)
    before = contents(root)
    fail_at_the_third_scene(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        ensure_toy_scenes(root, **{**PARAMETERS, "seed": 6})
    assert contents(root) == before
    assert list(tmp_path.iterdir()) == [root]


def test_the_slower_of_two_processes_uses_the_folder_of_the_faster(tmp_path, monkeypatch):
    path, run = tmp_path / "toy", toy_export._run
    winner = []

    def run_while_another_finishes(jobs, num_workers):
        monkeypatch.setattr(toy_export, "_run", run)
        ensure_toy_scenes(path, **PARAMETERS)
        winner.append(os.stat(path).st_ino)
        return run(jobs, num_workers)

    monkeypatch.setattr(toy_export, "_run", run_while_another_finishes)
    assert ensure_toy_scenes(path, **PARAMETERS) == path
    assert winner == [os.stat(path).st_ino]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("manifest", [None, "not json", "[]", "{}"])
def test_a_folder_of_somebody_else_is_never_touched(tmp_path, manifest):
    (tmp_path / "thesis.txt").write_text("five years")
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"root=.*not replaced"):
        ensure_toy_scenes(tmp_path, **PARAMETERS)
    assert contents(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "toy").write_text("a file")
    with pytest.raises(ValueError, match=r"root=.*not replaced"):
        ensure_toy_scenes(tmp_path / "toy", **PARAMETERS)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "toy").mkdir()
    assert (ensure_toy_scenes(tmp_path / "toy", **PARAMETERS) / MANIFEST).is_file()


@pytest.mark.parametrize(
    "wrong",
    [{"num_train": 0}, {"num_val": -1}, {"num_train": 2.5}, {"size": (32, 160)}, {"seed": -3}, {"num_workers": 0}],
)
def test_a_bad_argument_is_named_with_its_value_and_the_remedy(tmp_path, wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=name) as caught:
        ensure_toy_scenes(tmp_path / "toy", **{**PARAMETERS, **wrong})
    assert f"{name}={value!r} is not allowed" in str(caught.value)
    assert "pass" in str(caught.value)
