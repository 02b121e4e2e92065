"""Pictures are whole and of the size their annotations say, whatever their format and name."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image

from effvit_mm.engine.picture_check import check_pictures, turns_images
from effvit_mm.errors import BadInputError


def picture_problem(file, height=40, width=50, tell=print):
    images = [dict(file_name=file.name, height=height, width=width)]
    try:
        check_pictures(file.parent, images, file.with_suffix(".json"), tell=tell)
    except BadInputError as error:
        return str(error)
    return ""


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "1.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(file)
    return file


def test_a_picture_of_another_size_than_its_entry_says_is_refused(picture):
    assert picture_problem(picture) == ""
    text = picture_problem(picture, 50, 40)
    assert "1 of the 1 pictures that" in text
    assert "is 40 x 50 pixels (H x W), its entry says 50 x 40" in text
    assert "correct their entries in the annotation file" in text


def test_a_picture_turned_by_its_camera_has_the_size_it_is_shown_in(picture):
    exif = Image.Exif()
    exif[274] = 6
    Image.open(picture).transpose(Image.Transpose.ROTATE_90).save(picture, exif=exif)
    assert picture_problem(picture) == ""


def turn(file, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(file).save(file, exif=exif)


@pytest.mark.parametrize("name", ["1.jpg", "1.png"])
def test_a_picture_annotated_on_its_stored_pixels_is_refused_where_a_run_turns_it(picture, name):
    file = picture.with_name(name)
    Image.open(picture).save(file)
    turn(file, 6)
    height, width = cv2.imread(str(file)).shape[:2]
    assert picture_problem(file, height, width) == ""
    text = picture_problem(file, width, height)
    assert f"is {height} x {width} pixels (H x W), its entry says {width} x {height}" in text
    if name == "1.jpg":
        assert (height, width) == (50, 40)
        assert "its EXIF orientation 6 turns it" in text
        assert "exiftool -Orientation=" in text


def test_stored_pixels_are_right_where_the_pipeline_loads_them(picture):
    turn(picture, 6)
    loading = dict(type="LoadImageFromFile", color_type="color_ignore_orientation")
    images = [dict(file_name="1.jpg", height=40, width=50)]
    check_pictures(picture.parent, images, picture, turns=turns_images(dict(pipeline=[loading])))
    with pytest.raises(BadInputError, match="its entry says 40 x 50"):
        check_pictures(picture.parent, images, picture, turns=turns_images({}))


@pytest.mark.parametrize(("orientation", "is_told"), [(3, True), (2, True), (1, False)])
def test_pictures_whose_orientation_keeps_their_size_are_counted(picture, orientation, is_told):
    told = []
    turn(picture, orientation)
    assert picture_problem(picture, tell=told.append) == ""
    assert bool(told) == is_told
    if is_told:
        assert "1 of the 1 images carry an EXIF orientation, 1 of them one that keeps their size" in told[0]


@pytest.mark.parametrize(
    ("there", "asked", "cause"),
    [
        ("a/1.JPG", "a/1.jpg", "capitals"),
        ("a/1.png", "a/1.jpg", "the suffix"),
        ("a/1.jpg", "a\\1.jpg", "back slashes"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg", "NFC and NFD"),
        ("A/cafe\u0301.jpg", "a\\caf\u00e9.jpg", "back slashes"),
    ],
)
def test_a_missing_picture_is_answered_with_the_one_that_is_there_and_why_it_is_not_found(
    tmp_path, there, asked, cause
):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(BadInputError) as caught:
        check_pictures(tmp_path, [dict(file_name=asked, height=1, width=1)], tmp_path / "boxes.json")
    assert f"missing; there is {tmp_path / there}, whose name differs by" in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1"])
def test_pictures_of_any_mode_and_misleading_name_pass(picture, mode):
    Image.open(picture).convert(mode).save(picture, "JPEG" if mode in ("L", "CMYK") else "PNG")
    assert picture_problem(picture) == ""


def test_a_page_that_ends_like_a_picture_is_none(picture):
    picture.write_bytes(b"<html></html>\xff\xd9")
    assert "torn or no picture" in picture_problem(picture)


def test_a_pipe_is_refused_without_waiting_for_it(picture):
    picture.unlink()
    os.mkfifo(picture)
    assert "is no file" in picture_problem(picture)
