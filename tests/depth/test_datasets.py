"""Lists, folders, missing files, and depth in the wrong unit."""

import cv2
import numpy as np
import pytest

from effvit_mm.depth import DepthFolderDataset, DepthListDataset, write_depth
from effvit_mm.errors import BadInputError

NAMES = ("bathroom/rgb_00045", "office/rgb_00003", "office/rgb_00011")


def write_pairs(root, *, depth=2.5, scale=1000.0, suffix=".jpg", names=NAMES):
    """Write pictures under images/ and depth maps under depth/."""
    for name in names:
        picture = root / "images" / f"{name}{suffix}"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.zeros((6, 8, 3), np.uint8))
        write_depth(root / "depth" / f"{name}.png", np.full((6, 8), depth), scale)


PREFIX = dict(img_path="images", depth_map_path="depth")


def folders(root, **options):
    return DepthFolderDataset(data_root=str(root), data_prefix=PREFIX, **options)


def listed(root, text, **options):
    (root / "list.txt").write_text(text)
    return DepthListDataset(data_root=str(root), ann_file="list.txt", data_prefix=PREFIX, **options)


LINES = "".join(f"/{name}.jpg /{name}.png 518.8579\n" for name in NAMES)


@pytest.mark.parametrize("text", [LINES, LINES.replace("/bath", "bath").replace(" /", " ")], ids=["slashes", "none"])
def test_a_list_is_read_with_and_without_slashes_before_its_paths(tmp_path, text):
    write_pairs(tmp_path)
    data = listed(tmp_path, text)
    assert len(data) == 3
    entry = data.get_data_info(1)
    assert entry["img_path"] == str(tmp_path / "images/office/rgb_00003.jpg")
    assert entry["depth_map_path"] == str(tmp_path / "depth/office/rgb_00003.png")
    assert entry["depth_scale"] == 1000
    assert entry["seg_fields"] == []


def test_lines_without_depth_are_passed_over(tmp_path):
    write_pairs(tmp_path)
    assert len(listed(tmp_path, f"{LINES}office/rgb_1.jpg None 518.8579\n\n")) == 3


def test_a_line_that_is_no_pair_is_refused_with_its_number(tmp_path):
    write_pairs(tmp_path)
    with pytest.raises(BadInputError, match=r"line 4 is 'alone.jpg'"):
        listed(tmp_path, f"{LINES}alone.jpg\n")


def test_files_missing_from_a_list_are_counted_and_the_first_are_named(tmp_path):
    write_pairs(tmp_path, names=NAMES[:1])
    with pytest.raises(BadInputError, match=r"4 of the 6 files .*(?s:.*)office/rgb_00003.jpg(?s:.*)--toy"):
        listed(tmp_path, LINES)


def test_a_missing_list_is_refused_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(BadInputError, match=r"nyu_train.txt does not exist(?s:.*)--data-root"):
        DepthListDataset(data_root=str(tmp_path), ann_file="nyu_train.txt", data_prefix=PREFIX)


def test_an_empty_list_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="names no pair"):
        listed(tmp_path, "\n")


@pytest.mark.parametrize("suffix", [".jpg", ".PNG"])
def test_folders_are_paired_by_name_in_all_their_folders(tmp_path, suffix):
    write_pairs(tmp_path, suffix=suffix)
    data = folders(tmp_path)
    pairs = [(data.get_data_info(i)["img_path"], data.get_data_info(i)["depth_map_path"]) for i in range(3)]
    root = tmp_path
    assert pairs == [(f"{root}/images/{name}{suffix}", f"{root}/depth/{name}.png") for name in sorted(NAMES)]


def test_folders_are_paired_by_what_stands_before_the_ends_of_their_names(tmp_path):
    write_pairs(tmp_path, suffix="_rgb.PNG")
    for file in (tmp_path / "depth").rglob("*.png"):
        file.rename(file.with_name(f"{file.stem}_depth.png"))
    data = folders(tmp_path, img_suffix="_RGB.png", depth_map_suffix="_depth.png")
    depths = [data.get_data_info(i)["depth_map_path"] for i in range(3)]
    assert depths == [f"{tmp_path}/depth/{name}_depth.png" for name in sorted(NAMES)]


def test_a_picture_without_depth_is_refused_by_name(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "depth/office/rgb_00011.png").unlink()
    with pytest.raises(BadInputError, match=r"1 of the 6 files (?s:.*)depth/office/rgb_00011.png"):
        folders(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"images does not exist") as caught:
        folders(tmp_path)
    assert "in the two folders that data_prefix names" in str(caught.value)
    assert "NYU" not in str(caught.value)


def test_a_folder_without_pictures_is_refused(tmp_path):
    write_pairs(tmp_path)
    with pytest.raises(BadInputError, match=r"holds no picture ending in .tif"):
        folders(tmp_path, img_suffix=".tif")


def test_indices_take_the_first_pairs(tmp_path):
    write_pairs(tmp_path)
    assert len(folders(tmp_path, indices=2)) == 2


@pytest.mark.parametrize("depth", [0.4, 2.5, 9.0])
def test_millimetres_read_as_metres_are_caught(tmp_path, depth):
    write_pairs(tmp_path, depth=depth, scale=1000.0)
    with pytest.raises(BadInputError, match=rf"farther than it can be.* that is {depth:g} m \(depth_scale=1000\)"):
        folders(tmp_path, depth_scale=1.0)


@pytest.mark.parametrize("depth", [1.0, 3.0, 9.0, 40.0])
def test_metres_read_as_millimetres_are_caught(tmp_path, depth):
    write_pairs(tmp_path, depth=depth, scale=1.0)
    with pytest.raises(BadInputError, match=rf"nearer than makes sense.* as metres {depth:g} m \(depth_scale=1\)"):
        folders(tmp_path, depth_scale=1000.0)


@pytest.mark.parametrize(("depth", "scale"), [(0.3, 1000.0), (2.5, 1000.0), (9.0, 256.0), (3.0, 5000.0)])
def test_depth_in_the_unit_that_is_said_is_taken(tmp_path, depth, scale):
    write_pairs(tmp_path, depth=depth, scale=scale)
    assert len(folders(tmp_path, depth_scale=scale)) == 3


def test_what_the_files_hold_is_written_out(tmp_path):
    write_pairs(tmp_path, depth=10.0)
    with pytest.raises(BadInputError, match=r"hold 10,000 there: as millimetres that is 10 m .* as metres 10,000 m"):
        folders(tmp_path, depth_scale=1.0, max_depth=9.0)


def test_depth_maps_without_a_measured_pixel_are_refused(tmp_path):
    write_pairs(tmp_path, depth=0.0)
    with pytest.raises(BadInputError, match="hold no depth"):
        folders(tmp_path)


def test_the_unit_is_not_checked_before_the_data_is_wanted(tmp_path):
    data = folders(tmp_path, lazy_init=True)
    write_pairs(tmp_path, depth=2.5)
    data.full_init()
    assert len(data) == 3


def test_a_scale_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="depth_scale=0"):
        folders(tmp_path, depth_scale=0)
