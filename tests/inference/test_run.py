"""What a run of the tool leaves: what an evaluation computes as files, drawings, and a list of what it could not do."""

import csv
import json
import pickle

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from effvit_mm.engine.launch import evaluate
from effvit_mm.errors import BadInputError
from effvit_mm.inference import Predictor, infer
from effvit_mm.inference.sources import Video, written_video

pytestmark = [
    # Said by mmseg's losses, whatever they are given, and by mmdet's metrics when they are first imported.
    pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False:UserWarning"),
    pytest.mark.filterwarnings("ignore:faster_coco_eval is not installed:UserWarning"),
]

TESTED = {
    "detection": "data/toy_scenes/coco/val2017",
    "segmentation": "data/toy_scenes/ade20k/images/validation",
    "depth": "data/toy_scenes/nyu",
    "classification": "data/toy_scenes/imagenet/val",
}


def evaluated(config, checkpoint, folder):
    """The samples of an evaluation by the pictures' paths."""
    cfg = Config.fromfile(config)
    dump = dict(type="DumpResults", out_file_path=str(folder / "samples.pkl"))
    cfg.test_evaluator = [cfg.test_evaluator, dump]
    cfg.dump(folder / config.name)
    evaluate(folder / config.name, checkpoint, work_dir=folder / "test")
    with (folder / "samples.pkl").open("rb") as stream:
        return {sample["img_path"]: sample for sample in pickle.load(stream)}


def compare_detection(out, name, sample):
    content = json.loads((out / "results.json").read_text())
    rows = [row for row in content if row["file_name"] == name]
    found = sample["pred_instances"]
    corners = np.array([row["bbox"] for row in rows])
    corners[:, 2:] += corners[:, :2]
    np.testing.assert_allclose(corners, found["bboxes"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose([row["score"] for row in rows], found["scores"], rtol=1e-4)
    assert [row["category_id"] for row in rows] == (found["labels"] + 1).tolist()
    assert all(row["segmentation"]["size"] == [128, 160] for row in rows)


def compare_segmentation(out, name, sample):
    with Image.open(out / "masks" / f"{name.removesuffix('.jpg')}.png") as mask:
        assert mask.mode == "L"
        assert (np.asarray(mask) != sample["pred_sem_seg"]["data"][0].numpy()).mean() < 1e-3


def compare_depth(out, name, sample):
    stored = cv2.imread(str(out / "depth" / f"{name.removesuffix('.jpg')}.png"), cv2.IMREAD_UNCHANGED)
    scale = json.loads((out / "results.json").read_text())["scale"]
    np.testing.assert_allclose(stored / scale, sample["pred_depth_map"]["data"][0], atol=1e-3)


def compare_classification(out, name, sample):
    with (out / "results.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["file_name"] == name]
    scores = sample["pred_score"][[int(row["label"]) for row in rows]]
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores, rtol=1e-4)
    assert [row["rank"] for row in rows] == ["1", "2", "3"]


def test_the_files_hold_what_an_evaluation_computes_for_the_same_pictures(models, inside, tmp_path, task):
    samples = evaluated(*models[task], tmp_path)
    folder = inside / TESTED[task]
    assert infer(*models[task], folder, tmp_path / "out", batch_size=3, device="cpu", drawn="none") == []
    assert len(samples) >= 4
    for path, sample in samples.items():
        name = (inside / path).relative_to(folder).as_posix()
        globals()[f"compare_{task}"](tmp_path / "out", name, sample)


def test_each_picture_is_drawn_under_its_own_name(models, task, pictures, tmp_path):
    # Few objects are that sure, and drawing them takes long.
    infer(*models[task], pictures, tmp_path / "out", device="cpu", drawn="jpg", score_threshold=0.6)
    drawn = sorted(file.relative_to(tmp_path / "out/drawn").as_posix() for file in (tmp_path / "out").rglob("*.jpg"))
    assert drawn == ["a.jpg", "b.jpg", "inner/c.jpg"]
    assert not list(tmp_path.rglob(".*"))


def test_pycocotools_reads_the_detections(models, pictures, tmp_path):
    from pycocotools.coco import COCO

    # Paths as text, as a script has them.
    infer(*map(str, (*models["detection"], pictures, tmp_path / "out")), device="cpu", drawn="none")
    read = COCO(tmp_path / "out/images.json").loadRes(str(tmp_path / "out/results.json"))
    assert [image["file_name"] for image in read.dataset["images"]] == ["a.png", "b.png", "inner/c.png"]
    assert {category["name"] for category in read.dataset["categories"]} == {"box", "sphere", "cylinder"}
    annotation = read.loadAnns(read.getAnnIds(imgIds=[2]))[0]
    assert read.annToMask(annotation).shape == (64, 128)


def test_what_cannot_be_read_is_listed_and_the_others_are_predicted(models, pictures, tmp_path):
    (pictures / "b.png").write_text("no picture")
    failures = infer(*models["depth"], pictures, tmp_path / "out", device="cpu")
    assert len(failures) == 1
    assert "b.png: torn or no picture" in failures[0]
    assert [file.name for file in sorted((tmp_path / "out/depth").rglob("*.png"))] == ["a.png", "c.png"]
    assert len(json.loads((tmp_path / "out/results.json").read_text())["pictures"]) == 2


def test_a_folder_that_holds_something_is_written_to_only_when_told(models, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("mine")
    with pytest.raises(BadInputError, match="holds something already; give another --out, or --overwrite"):
        infer(*models["depth"], pictures, out, device="cpu")
    assert (out / "results.json").read_text() == "mine"
    infer(*models["depth"], pictures, out, device="cpu", overwrite=True)
    assert len(json.loads((out / "results.json").read_text())["pictures"]) == 3


def test_a_run_that_predicts_nothing_or_is_stopped_leaves_no_results(models, pictures, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "draw", stop)
    with pytest.raises(KeyboardInterrupt):
        infer(*models["depth"], pictures, tmp_path / "out", device="cpu")
    for file in pictures.rglob("*.png"):
        file.write_text("no picture")
    with pytest.raises(BadInputError, match=r"nothing could be predicted:\n.*a\.png"):
        infer(*models["depth"], pictures, tmp_path / "none", device="cpu")
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_video_is_predicted_frame_by_frame_and_drawn_as_a_video(models, predictors, picture, tmp_path, task):
    source, out = tmp_path / "walk.mp4", tmp_path / "out"
    with written_video(source, 12.0) as append:
        for shift in range(4):
            append(np.roll(picture, 9 * shift, axis=1))
    # Few objects are that sure, and drawing them takes long.
    options = dict(device="cpu", batch_size=3, frames=True, score_threshold=0.6)
    assert infer(*models[task], source, out, **options) == []
    drawn = Video(out / "drawn/walk.mp4")
    assert (drawn.rate, drawn.num_frames, len(list(drawn))) == (12.0, 4, 4)
    assert len(list((out / "drawn/walk").glob("*.png"))) == 4
    listed = json.loads((out / ("images.json" if task == "detection" else "results.json")).read_text())
    rows = listed["images" if task == "detection" else "pictures"]
    assert [row["file_name"] for row in rows] == [f"walk.mp4/{number:06d}" for number in range(4)]
    (*_, last) = Video(source)
    globals()[f"compare_last_{task}"](out, "walk.mp4/000003", predictors[task](last.source))


def compare_last_detection(out, name, sample):
    rows = [row for row in json.loads((out / "results.json").read_text()) if row["file_name"] == name]
    np.testing.assert_allclose([row["score"] for row in rows], sample.pred_instances.scores, rtol=1e-4)


def compare_last_segmentation(out, name, sample):
    mask = cv2.imread(str(out / "masks/walk/000003.png"), cv2.IMREAD_UNCHANGED)
    assert (mask != sample.pred_sem_seg.data[0].numpy()).mean() < 1e-3


def compare_last_depth(out, name, sample):
    stored = cv2.imread(str(out / "depth/walk/000003.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(stored / 1000, sample.pred_depth_map.data[0], atol=1e-3)


def compare_last_classification(out, name, sample):
    compare_classification(out, name, dict(pred_score=sample.pred_score))


def make_odd(folder, kind):
    if kind == "empty":
        (folder / "x").mkdir()
    elif kind == "text":
        (folder / "x").write_text("neither")
    return folder / "x"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "x does not exist, looked from"),
        ("empty", "x holds no picture: no name ends in .bmp, .jfif"),
        ("text", "x is neither a picture nor a video that OpenCV can read"),
    ],
)
def test_input_that_is_none_is_said_before_the_model_is_built(tmp_path, kind, message):
    with pytest.raises(BadInputError) as caught:
        infer(tmp_path / "no.py", tmp_path / "no.pth", make_odd(tmp_path, kind), tmp_path / "out")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(score_threshold=30), "the score threshold is 30"), (dict(drawn="gif"), "drawn='gif' is not allowed")],
)
def test_values_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(BadInputError, match=message):
        infer(tmp_path / "no.py", tmp_path / "no.pth", tmp_path, tmp_path / "out", **options)
