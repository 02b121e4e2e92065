"""Pictures and masks that do not belong together, or to the classes of the model, are told before anything is built."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from tiny_masks import CLASSES, mask_path, picture_path, write_masks

import effvit_mm.datasets.index_mask_folder  # noqa: F401  # which registers
from effvit_mm.engine.data_check import check_data
from effvit_mm.engine.overlays import keep_few_pictures
from effvit_mm.errors import BadInputError


def config(root, num_classes=3, **options):
    training = dict(img_path="images/training", seg_map_path="annotations/training")
    validation = dict(img_path="images/validation", seg_map_path="annotations/validation")
    dataset = {"type": "IndexMaskFolder", "data_root": str(root), "metainfo": dict(classes=CLASSES), **options}
    return Config(
        dict(
            default_scope="mmseg",
            work_dir=str(root / "run"),
            model=dict(
                type="EncoderDecoder",
                decode_head=dict(num_classes=num_classes),
                auxiliary_head=[dict(num_classes=3), dict(num_classes=num_classes)],
            ),
            train_dataloader=dict(dataset={"data_prefix": training, **dataset}),
            val_dataloader=dict(dataset={"data_prefix": validation, **dataset}),
            test_dataloader=dict(dataset={"data_prefix": validation, **dataset}),
        )
    )


def message(cfg, splits=("train", "val")):
    with pytest.raises(BadInputError) as caught:
        check_data(cfg, splits)
    return str(caught.value)


def write_values(root, number, *values):
    mask = cv2.imread(str(mask_path(root, number)), cv2.IMREAD_UNCHANGED)
    mask[0, : len(values)] = values
    cv2.imwrite(str(mask_path(root, number)), mask)


def test_whole_data_passes(tmp_path):
    write_masks(tmp_path)
    check_data(config(tmp_path), ("train", "val"))


def test_missing_data_lists_the_folders_and_the_way_without_data(tmp_path):
    text = message(config(tmp_path / "nowhere"))
    for split, part in (("train", "training"), ("val", "validation")):
        assert f"{split} masks     {tmp_path}/nowhere/annotations/{part}/  MISSING" in text
    for remedy in ("--data-root", "--toy", "docs/segmentation.md"):
        assert remedy in text


def test_missing_ade20k_names_its_source(tmp_path):
    cfg = config(tmp_path)
    for split in ("train", "val"):
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.type = "ADE20KDataset"
        del dataset["metainfo"]
    assert "ADEChallengeData2016.zip" in message(cfg)


def test_pictures_without_masks_are_counted_and_named(tmp_path):
    write_masks(tmp_path)
    mask_path(tmp_path, 2).unlink()
    text = message(config(tmp_path))
    assert "1 of the 3 pictures of" in text
    assert "have no mask in" in text
    assert "street_2.jpg" in text


def test_values_that_are_no_class_are_shown_beside_what_classes_allow(tmp_path):
    write_masks(tmp_path)
    write_values(tmp_path, 2, 3, 17, 255)
    text = message(config(tmp_path))
    assert "1 of the 3 masks of" in text
    assert "street_2.png  3, 17\n" in text
    assert "the 3 classes are the values 0 to 2, and 255 is ignored" in text
    assert "reduce_zero_label=True if the classes count from 1" in text


def test_values_are_counted_as_the_data_set_counts_them(tmp_path):
    write_masks(tmp_path, first=1)
    write_values(tmp_path, 2, 0, 11)
    check_data(config(tmp_path, reduce_zero_label=True, ignore_index=11), ("train", "val"))
    text = message(config(tmp_path, reduce_zero_label=True))
    assert "street_2.png  11\n" in text
    assert "the values 1 to 3, and 0, 255 is ignored" in text


def test_values_of_16_bits_are_read_as_they_are(tmp_path):
    write_masks(tmp_path)
    mask = cv2.imread(str(mask_path(tmp_path, 3)), cv2.IMREAD_UNCHANGED).astype(np.uint16)
    cv2.imwrite(str(mask_path(tmp_path, 3)), mask)
    check_data(config(tmp_path), ("train",))
    mask[0, 0] = 256  # 0 to whoever keeps eight bits
    cv2.imwrite(str(mask_path(tmp_path, 3)), mask)
    assert "street_3.png  256\n" in message(config(tmp_path))


def test_masks_of_0_and_255_tell_nothing_apart(tmp_path):
    write_masks(tmp_path)
    for i in (1, 2, 3):
        mask = cv2.imread(str(mask_path(tmp_path, i)), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(mask_path(tmp_path, i)), np.where(mask > 0, 255, 0).astype(np.uint8))
    text = message(config(tmp_path))
    assert "hold only the values 0, 255" in text
    assert "only 'floor' occurs" in text


def test_colour_masks_are_told_from_index_masks(tmp_path):
    write_masks(tmp_path)
    cv2.imwrite(str(mask_path(tmp_path, 1)), np.zeros((40, 50, 3), np.uint8))
    text = message(config(tmp_path))
    assert "street_1.png  is a colour picture (RGB)" in text
    assert "one channel whose values are class numbers" in text


def test_masks_stored_as_jpeg_are_refused(tmp_path):
    write_masks(tmp_path)
    mask = cv2.imread(str(mask_path(tmp_path, 1)), cv2.IMREAD_UNCHANGED)
    mask_path(tmp_path, 1).write_bytes(cv2.imencode(".jpg", mask)[1].tobytes())
    assert "is a JPEG, which blurs values" in message(config(tmp_path))


def test_a_torn_mask_is_named(tmp_path):
    write_masks(tmp_path)
    file = mask_path(tmp_path, 3)
    file.write_bytes(file.read_bytes()[:60])
    assert "street_3.png  is torn or no picture" in message(config(tmp_path))


def test_a_mask_of_another_size_than_its_picture_is_named(tmp_path):
    write_masks(tmp_path)
    cv2.imwrite(str(mask_path(tmp_path, 3)), np.full((20, 25), 1, np.uint8))
    text = message(config(tmp_path))
    assert "1 of the 3 pictures with masks in" in text
    assert "street_3.jpg  is 40 x 50 pixels (H x W), its mask is 20 x 25" in text
    assert "make their masks again" in text


def test_a_torn_picture_is_named(tmp_path):
    write_masks(tmp_path)
    file = picture_path(tmp_path, 2, "validation")
    file.write_bytes(file.read_bytes()[:-30])
    assert "street_2.jpg  torn" in message(config(tmp_path))


@pytest.mark.parametrize(("num_classes", "path"), [(2, "model.decode_head"), (150, "model.decode_head")])
def test_heads_of_another_number_of_classes_are_named(tmp_path, num_classes, path):
    write_masks(tmp_path)
    text = message(config(tmp_path, num_classes))
    assert f"{path}.num_classes={num_classes}, but the train data set (IndexMaskFolder) has 3 classes" in text


def test_the_second_auxiliary_head_is_checked_too(tmp_path):
    write_masks(tmp_path)
    cfg = config(tmp_path)
    cfg.model.auxiliary_head[1].num_classes = 19
    assert "model.auxiliary_head[1].num_classes=19" in message(cfg)


def test_one_channel_may_tell_two_classes_apart(tmp_path):
    write_masks(tmp_path)
    cfg = config(tmp_path, num_classes=1, metainfo=dict(classes=("floor", "rest")), ignore_index=2)
    cfg.model.auxiliary_head = None
    check_data(cfg, ("train",))


def test_a_palette_of_another_length_names_its_place(tmp_path):
    write_masks(tmp_path)
    text = message(config(tmp_path, metainfo=dict(classes=CLASSES, palette=[(1, 2, 3)])))
    assert text.startswith("train_dataloader.dataset: metainfo.palette has 1 colours for 3 classes")


def test_own_classes_under_the_name_of_a_benchmark_are_sent_to_the_right_data_set(tmp_path):
    write_masks(tmp_path)
    assert "type='IndexMaskFolder'" in message(config(tmp_path, type="ADE20KDataset", metainfo=dict(classes=("mine",))))


def test_few_pictures_train_and_validate_themselves(tmp_path):
    write_masks(tmp_path)
    cfg = config(tmp_path)
    keep_few_pictures(cfg, 2)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.data_prefix.img_path == "images/training"
        with open(dataset.ann_file) as file:
            assert file.read().split() == ["street_1", "street_2"]
    check_data(cfg, ("train", "val"))


@pytest.mark.parametrize("num_pictures", [0, 4])
def test_a_number_of_pictures_that_are_not_there_is_refused(tmp_path, num_pictures):
    write_masks(tmp_path)
    with pytest.raises(BadInputError, match=f"--overfit {num_pictures}: give a number from 1 to 3"):
        keep_few_pictures(config(tmp_path), num_pictures)


def test_images_of_all_kinds_are_read_through_links_and_what_is_left_out_is_counted(tmp_path):
    write_masks(tmp_path, num_pictures=5)
    for number, end in ((1, ".webp"), (2, ".bmp"), (3, ".tif")):
        file = picture_path(tmp_path, number)
        cv2.imwrite(str(file.with_suffix(end)), cv2.imread(str(file)))
        file.unlink()
    for folder in (tmp_path / "images/training", tmp_path / "annotations/training"):
        elsewhere = tmp_path / "disk" / folder.parent.name
        elsewhere.mkdir(parents=True)
        for file in folder.glob("street_4.*"):
            file.rename(elsewhere / file.name)
        (folder / "linked").symlink_to(elsewhere)
        (elsewhere / "loop").symlink_to(folder)
    (tmp_path / "images/training/._street_5.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "images/training/new.HEIC").touch()
    told = []
    check_data(config(tmp_path), ("train",), tell=told.append)
    (note,) = [line for line in told if "left out" in line]
    assert "1 is left out (1 .heic)" in note
    assert "img_suffix" in note
    dataset = DATASETS.build(dict(**config(tmp_path).train_dataloader.dataset, pipeline=[]))
    assert sorted(item["img_path"].rpartition("/")[2] for item in (dataset[i] for i in range(len(dataset)))) == [
        "street_1.webp",
        "street_2.bmp",
        "street_3.tif",
        "street_4.jpg",
        "street_5.jpg",
    ]


def test_classes_that_count_from_0_where_0_is_left_out_are_refused(tmp_path):
    write_masks(tmp_path)
    text = message(config(tmp_path, reduce_zero_label=True))
    assert "no mask of training, validation or test holds 3, which stands for 'box' under reduce_zero_label" in text
    assert "0 is left out, and covers 20%" in text
    assert "reduce_zero_label=False" in text
    told = []
    check_data(config(tmp_path), ("train",), tell=told.append)
    assert told == []


def test_a_class_that_occurs_nowhere_is_told(tmp_path):
    write_masks(tmp_path)
    told = []
    cfg = config(tmp_path, num_classes=4, metainfo=dict(classes=("floor", "wall", "box", "lamp")))
    cfg.model.auxiliary_head = []
    check_data(cfg, ("train",), tell=told.append)
    assert told == ["train: 1 of the 4 classes occur in no mask: 'lamp' (3)"]


def write_counted_from(root, first, values):
    """Write masks of which each holds the given values in equal stripes, counted from one that is given."""
    write_masks(root)
    for file in (root / "annotations").rglob("*.png"):
        rows, columns = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).shape
        stripes = np.repeat(values, -(-columns // len(values)))[:columns] + first
        cv2.imwrite(str(file), np.tile(stripes, (rows, 1)).astype(np.uint8))


@pytest.mark.parametrize("rare", ["validation holds the last class", "0 is a thin border", "nothing is measured"])
def test_a_last_class_that_training_lacks_is_told_and_not_refused(tmp_path, rare):
    write_counted_from(tmp_path, 0, [0, 1, 1, 1, 1, 2, 2, 2, 2, 2] if "border" in rare else [0, 1, 2])
    if "validation" in rare:
        file = sorted((tmp_path / "annotations/validation").glob("*.png"))[0]
        cv2.imwrite(str(file), np.full_like(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), 3))
    told = []
    splits = ("train",) if "nothing" in rare else ("train", "val")
    check_data(config(tmp_path, reduce_zero_label=True), splits, tell=told.append)
    share = "10.0%" if "border" in rare else "34.0%"
    assert told == [
        f"train: 1 of the 3 classes occur in no mask: {CLASSES[-1]!r} (3); 0, which reduce_zero_label=True leaves out, "
        f"covers {share} of the pixels"
    ]


def test_a_palette_whose_places_are_no_class_numbers_is_refused(tmp_path):
    write_masks(tmp_path)
    places = Image.fromarray(np.full((40, 50), 17, np.uint8)).convert("P")
    places.save(mask_path(tmp_path, 1))
    text = message(config(tmp_path))
    assert "street_1.png  17" in text
    assert "the 3 classes are the values 0 to 2" in text
