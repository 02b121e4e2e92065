"""Pictures are whole and of the size their annotations say, whatever their format and name."""

import os

import numpy as np
import pytest
from PIL import Image

from effvit_mm.engine.picture_check import check_pictures
from effvit_mm.errors import BadInputError


def picture_problem(file, height=40, width=50):
    try:
        check_pictures(file.parent, [dict(file_name=file.name, height=height, width=width)], file.with_suffix(".json"))
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
