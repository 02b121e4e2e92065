"""A trained model as a function: the same pictures, read and batched in any way, give the same predictions."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from effvit_mm.errors import BadInputError
from effvit_mm.inference import Picture, Predictor


def values_of(sample):
    """What a sample of any task predicts, as tensors by name."""
    if "pred_instances" in sample:
        return dict(sample.pred_instances.items())
    if "pred_score" in sample:
        return dict(score=sample.pred_score)
    field = sample.pred_sem_seg if "pred_sem_seg" in sample else sample.pred_depth_map
    return dict(data=field.data)


def assert_same(ours, theirs, share=1e-4):
    ours, theirs = values_of(ours), values_of(theirs)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs[name], rtol=share, atol=share)
        else:
            # A pixel on the border of a mask may fall on either side.
            assert value.shape == theirs[name].shape
            assert (value != theirs[name]).float().mean() < share


def test_a_batch_gives_what_the_pictures_give_alone(predictors, models, task, pictures):
    files = sorted(pictures.rglob("*.png"))
    together = Predictor(*models[task], device="cpu", batch_size=3)(files)
    for file, sample in zip(files, together, strict=True):
        assert_same(sample, predictors[task](file))
        assert sample.img_path == str(file)


def test_pixels_give_what_their_file_gives(predictors, task, pictures, picture):
    assert_same(predictors[task](picture), predictors[task](str(pictures / "a.png")), share=1e-7)


def test_the_classes_are_those_the_checkpoint_notes(predictors):
    assert predictors["detection"].classes == ("box", "sphere", "cylinder")
    assert predictors["segmentation"].classes == ("floor", "wall", "box", "sphere", "cylinder")
    assert predictors["classification"].classes == ("box", "cylinder", "sphere")
    assert predictors["depth"].classes == ()


def test_weights_alone_take_the_classes_of_the_config(models, tmp_path):
    config, checkpoint = models["segmentation"]
    torch.save(torch.load(checkpoint)["state_dict"], tmp_path / "weights.pth")
    assert Predictor(config, tmp_path / "weights.pth", device="cpu").classes[:2] == ("floor", "wall")


def same_picture_of(kind, picture, folder):
    """Store a picture in some way; returns the file, and the pixels that a run reads of it."""
    file = folder / f"{kind}.png"
    if kind == "grey":
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        cv2.imwrite(str(file), grey)
        return file, np.repeat(grey[..., None], 3, axis=2)
    if kind == "16 bits":
        cv2.imwrite(str(file), picture.astype(np.uint16) * 256 + 17)
        return file, picture
    if kind == "transparent":
        cv2.imwrite(str(file), np.dstack([picture, np.full(picture.shape[:2], 90, np.uint8)]))
        return file, picture
    stored = Image.fromarray(picture[..., ::-1])
    noted = stored.getexif()
    noted[0x0112] = 6  # the camera was turned: rows are columns
    stored.save(file, exif=noted)
    return file, np.rot90(picture, -1).copy()


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "turned"])
def test_pictures_of_any_kind_are_read_as_training_reads_them(predictors, picture, tmp_path, kind):
    file, pixels = same_picture_of(kind, picture, tmp_path)
    sample = predictors["depth"](file)
    assert sample.ori_shape == pixels.shape[:2]
    assert_same(sample, predictors["depth"](pixels), share=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (17, 250), (90, 5)])
def test_pictures_of_odd_sizes_are_predicted_in_their_size(predictors, task, picture, size):
    sample = predictors[task](cv2.resize(picture, size[::-1]))
    assert sample.ori_shape == size
    values = values_of(sample)
    if task in ("segmentation", "depth"):
        assert values["data"].shape == (1, *size)
    if task == "detection":
        assert values["masks"].shape[1:] == size
    assert all(value.isfinite().all() for value in values.values() if value.is_floating_point())
    assert max(predictors[task].draw(cv2.resize(picture, size[::-1]), sample).shape[:2]) >= 200


def test_a_torn_picture_is_named_and_the_others_go_on(predictors, pictures):
    files = sorted(pictures.rglob("*.png"))
    files[1].write_bytes(files[1].read_bytes()[:-100])
    with pytest.raises(BadInputError, match=r"b\.png: torn or no picture"):
        predictors["depth"](files)
    found = list(predictors["depth"].stream(iter(files)))
    assert [prediction.error is None for prediction in found] == [True, False, True]
    assert [prediction.picture.name for prediction in found] == ["a.png", "b.png", "c.png"]


def test_a_stream_takes_what_a_call_takes(predictors, pictures, picture):
    file = pictures / "a.png"
    ways = [str(file), file, picture, Picture("named", "named", file)]
    expected = predictors["depth"](file)
    found = [*predictors["depth"].stream(ways), *predictors["depth"].stream(str(file))]
    assert [prediction.picture.name for prediction in found] == ["a.png", "a.png", "", "named", "a.png"]
    for prediction in found:
        assert_same(prediction.sample, expected, share=1e-7)
    assert_same(predictors["depth"](ways[-1]), expected, share=1e-7)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", [Image.fromarray, torch.from_numpy])
def test_a_picture_of_another_kind_is_refused_with_what_is_expected(predictors, picture, kind, alone):
    given = kind(picture)
    with pytest.raises(BadInputError, match=r"is given as (Image|Tensor), expected a file, or an array uint8"):
        predictors["depth"](given if alone else [given])


def test_a_folder_is_said_to_be_one(predictors, pictures):
    with pytest.raises(BadInputError, match="pictures: is a folder, which infer takes, expected a picture"):
        predictors["depth"](pictures)


def test_a_picture_the_network_cannot_take_does_not_take_its_batch_along(models, picture, monkeypatch):
    predict = Predictor(*models["depth"], device="cpu", batch_size=3)
    step = predict.model.test_step

    def picky(batch):
        if any(inputs.max() < 9 for inputs in batch["inputs"]):
            raise RuntimeError("too dark\nand more")
        return step(batch)

    monkeypatch.setattr(predict.model, "test_step", picky)
    pixels = dict(a=picture, b=picture // 99, c=picture[::-1])
    pictures = [Picture(name, name, values) for name, values in pixels.items()]
    good, bad, other = predict.stream(pictures)
    assert str(bad.error) == "picture b of 96 x 128 pixels (H x W) cannot be predicted (RuntimeError: too dark)"
    assert good.error is None
    assert not torch.equal(good.sample.pred_depth_map.data, other.sample.pred_depth_map.data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(checkpoint="nowhere.pth"), "checkpoint nowhere.pth does not exist"),
        (dict(config="nowhere.py"), "config nowhere.py does not exist"),
        (dict(device="abacus"), "device 'abacus' cannot be used here"),
        (dict(batch_size=0), "the batch is 0, expected a whole number"),
        (dict(options={"model.decode_head.channels": 48}), "is of another network than the config's"),
        (dict(options={"test_dataloader.dataset.pipeline.0.type": "LoadImageFromNowhere"}), "no registered transform"),
        (dict(options={"test_dataloader.dataset.pipeline.0.type": "LoadDepth"}), "expected LoadImageFromFile"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_predicted(models, options, message):
    config, checkpoint = models["depth"]
    with pytest.raises(BadInputError, match=message):
        Predictor(**dict(config=config, checkpoint=checkpoint, device="cpu") | options)


def test_pixels_that_are_no_picture_are_refused_with_what_is_expected(predictors):
    with pytest.raises(BadInputError, match=r"float64 \(4, 4, 3\), expected uint8"):
        predictors["depth"](np.zeros((4, 4, 3)))
