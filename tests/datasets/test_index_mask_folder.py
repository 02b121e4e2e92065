"""IndexMaskFolder pairs pictures with masks, numbers classes as the masks do, and leaves out what it is told to."""

import cv2
import numpy as np
import pytest
from tiny_masks import CLASSES, mask_path, picture_path, write_masks

from effvit_mm.datasets.index_mask_folder import IndexMaskFolder
from effvit_mm.errors import BadInputError

PIPELINE = [dict(type="LoadAnnotations")]


@pytest.fixture(autouse=True)
def scope():
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def folder(root, classes=CLASSES, palette=None, **options):
    metainfo = dict(classes=classes) if palette is None else dict(classes=classes, palette=palette)
    return IndexMaskFolder(data_root=str(root), metainfo=metainfo, pipeline=PIPELINE, **options)


def labels(dataset, index=0):
    return dataset[index]["gt_seg_map"]


def overwrite(root, values):
    """Put values into the first row of the first mask, from the left."""
    mask = cv2.imread(str(mask_path(root, 1)), cv2.IMREAD_UNCHANGED)
    mask[0, : len(values)] = values
    cv2.imwrite(str(mask_path(root, 1)), mask)


def test_pictures_have_the_masks_of_their_names_in_order(tmp_path):
    write_masks(tmp_path)
    dataset = folder(tmp_path)
    assert [dataset.get_data_info(i)["img_path"] for i in range(3)] == [
        str(picture_path(tmp_path, i)) for i in (1, 2, 3)
    ]
    assert [dataset.get_data_info(i)["seg_map_path"] for i in range(3)] == [
        str(mask_path(tmp_path, i)) for i in (1, 2, 3)
    ]


def test_it_builds_by_name_under_the_scope_of_mmseg(tmp_path):
    from mmseg.registry import DATASETS

    write_masks(tmp_path)
    spec = dict(type="IndexMaskFolder", data_root=str(tmp_path), metainfo=dict(classes=CLASSES))
    assert isinstance(DATASETS.build(spec), IndexMaskFolder)


def test_classes_count_from_zero(tmp_path):
    write_masks(tmp_path)
    overwrite(tmp_path, [2, 0, 1])
    assert labels(folder(tmp_path))[0, :3].tolist() == [2, 0, 1]


def test_with_reduce_zero_label_they_count_from_one_and_zero_is_ignored(tmp_path):
    write_masks(tmp_path, first=1)
    overwrite(tmp_path, [3, 0, 1, 255])
    assert labels(folder(tmp_path, reduce_zero_label=True))[0, :4].tolist() == [2, 255, 0, 255]


@pytest.mark.parametrize(("reduce_zero_label", "first"), [(False, 0), (True, 1)])
def test_the_ignored_value_is_the_one_in_the_file(tmp_path, reduce_zero_label, first):
    write_masks(tmp_path, first=first)
    overwrite(tmp_path, [11, 254, 255])
    dataset = folder(tmp_path, reduce_zero_label=reduce_zero_label, ignore_index=11)
    assert labels(dataset)[0, :3].tolist() == [255, 254 - first, 255]
    dataset = folder(tmp_path, reduce_zero_label=reduce_zero_label, ignore_index=254)
    assert labels(dataset)[0, :3].tolist() == [11 - first, 255, 255]


def test_suffixes_may_differ_in_kind_and_case_and_subfolders_are_read(tmp_path):
    write_masks(tmp_path)
    inner, inner_mask = tmp_path / "images/training/a", tmp_path / "annotations/training/a"
    inner.mkdir()
    inner_mask.mkdir()
    picture_path(tmp_path, 2).rename(inner / "Street_2.JPEG")
    mask_path(tmp_path, 2).rename(inner_mask / "Street_2.PNG")
    picture_path(tmp_path, 3).rename(inner / "street_3.png")
    mask_path(tmp_path, 3).rename(inner_mask / "street_3.png")
    (inner / "._street_3.png").write_text("what a Mac leaves behind")
    assert len(folder(tmp_path)) == 3


def test_a_list_of_names_chooses_pictures(tmp_path):
    write_masks(tmp_path)
    (tmp_path / "few.txt").write_text("street_3\n\nstreet_1\n")
    dataset = folder(tmp_path, ann_file="few.txt")
    assert [dataset[i]["img_path"][-5] for i in range(len(dataset))] == ["1", "3"]


def test_without_a_folder_of_masks_there_are_pictures_alone(tmp_path):
    write_masks(tmp_path)
    dataset = folder(tmp_path, data_prefix=dict(img_path="images/validation"), lazy_init=True)
    assert "seg_map_path" not in dataset.load_data_list()[0]


def test_colours_are_chosen_where_none_are_given(tmp_path):
    write_masks(tmp_path)
    assert len(folder(tmp_path).metainfo["palette"]) == len(CLASSES)


def break_folder(root):
    (root / "images/training").rename(root / "images/elsewhere")


def break_masks(root):
    for i in (1, 2):
        mask_path(root, i).unlink()


def break_names(root):
    picture_path(root, 1).with_suffix(".png").write_bytes(picture_path(root, 1).read_bytes())


def empty_folder(root):
    for i in (1, 2, 3):
        picture_path(root, i).unlink()


def misspell(root):
    (root / "few.txt").write_text("street_1\nstreet_9.jpg\n")


@pytest.mark.parametrize(
    ("damage", "options", "messages"),
    [
        (break_folder, {}, ["folder of the pictures", "images/training", "does not exist", "data_root"]),
        (break_masks, {}, ["2 of the 3 pictures", "have no mask in", "street_1.jpg, street_2.jpg", "seg_map_suffix"]),
        (break_names, {}, ["two pictures of one name", "street_1.png"]),
        (empty_folder, {}, ["has no pictures", ".jpeg or .jpg", ".png"]),
        (misspell, {"ann_file": "few.txt"}, ["names 2 pictures, 1 of which", "street_9.jpg", "without suffix"]),
        (None, {"ann_file": "none.txt"}, ["none.txt does not exist"]),
        (None, {"classes": ()}, ["metainfo is", "classes"]),
        (None, {"classes": ("a", "b", "a")}, ["names a twice"]),
        (None, {"classes": tuple(map(str, range(256)))}, ["256 names", "255 classes at most"]),
        (None, {"palette": [(0, 0, 0)]}, ["palette has 1 colours for 3 classes"]),
        (None, {"palette": [(0, 0, 0), (1, 1, 1), (0, 300, 0)]}, ["palette[2] is (0, 300, 0)"]),
        (None, {"ignore_index": 300}, ["ignore_index is 300", "0 to 255"]),
    ],
)
def test_what_cannot_be_used_is_told_with_its_remedy(tmp_path, damage, options, messages):
    write_masks(tmp_path)
    if damage:
        damage(tmp_path)
    with pytest.raises(BadInputError) as caught:
        folder(tmp_path, **options)
    for message in messages:
        assert message in str(caught.value)


def test_masks_load_as_numbers_whatever_their_palette(tmp_path):
    from PIL import Image

    write_masks(tmp_path)
    with Image.open(mask_path(tmp_path, 1)) as mask:
        coloured = Image.fromarray(np.asarray(mask)).convert("P")
        coloured.putdata(np.asarray(mask).ravel().tolist())
    before = labels(folder(tmp_path))
    coloured.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    coloured.save(mask_path(tmp_path, 1))
    np.testing.assert_array_equal(labels(folder(tmp_path)), before)
