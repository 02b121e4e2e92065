"""Pictures are read whole or refused by name, the same ones each time."""

import numpy as np
import pytest
import torch
from PIL import Image

from effvit_mm.errors import BadInputError
from effvit_mm.pictures import MEAN, STD, as_tensor, list_pictures, read_picture, read_pictures


def write(file, colour=(10, 20, 30), size=(40, 30)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)
    return file


def test_pictures_are_listed_through_all_folders_by_suffix(tmp_path):
    files = [write(tmp_path / "a" / "1.png"), write(tmp_path / "b" / "c" / "2.JPG"), write(tmp_path / "z.webp")]
    (tmp_path / "notes.txt").write_text("no picture")
    assert list_pictures(tmp_path) == files


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(BadInputError, match=f"--images {tmp_path} holds no picture"):
        list_pictures(tmp_path, named="--images")
    with pytest.raises(BadInputError, match="nowhere does not exist"):
        list_pictures(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match=r"a\.png is no folder"):
        list_pictures(write(tmp_path / "a.png"))


@pytest.mark.parametrize("keep", [0, 4, 0.5])
def test_a_torn_picture_is_named(tmp_path, keep):
    file = tmp_path / "torn.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(BadInputError, match=r"torn.jpg is torn or no picture"):
        read_picture(file)


def test_a_picture_is_rgb_and_turned_as_the_camera_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 30), 7).save(tmp_path / "turned.jpg", exif=exif)
    picture = read_picture(tmp_path / "turned.jpg")
    assert (picture.mode, picture.size) == ("RGB", (30, 40))


def test_pixels_are_normalised_channel_by_channel():
    pixels = as_tensor(Image.new("RGB", (4, 3), (255, 0, 51)))
    expected = [(value - mean) / std for value, mean, std in zip((1, 0, 0.2), MEAN, STD, strict=True)]
    assert pixels.shape == (3, 3, 4)
    torch.testing.assert_close(pixels[:, 1, 2], torch.tensor(expected))


def test_pictures_are_spread_evenly_over_the_names(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png", colour=(50 * i, 0, 0))
    batch = read_pictures(tmp_path, 16, num_pictures=3)
    assert batch.shape == (3, 3, 16, 16)
    reds = (batch[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255
    torch.testing.assert_close(reds, torch.tensor([0.0, 100.0, 200.0]), atol=1e-3, rtol=0)
    assert len(read_pictures(tmp_path, 16, num_pictures=9)) == 5


def test_the_middle_of_a_picture_is_kept_in_its_proportions(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    middle = read_pictures(tmp_path, 18, num_pictures=1)
    assert middle.min() > (0.99 - max(MEAN)) / max(STD)
