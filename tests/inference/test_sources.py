"""Which pictures are found, and videos that are written whole, read whole, or said to be cut off."""

import cv2
import numpy as np
import pytest

from effvit_mm.errors import BadInputError
from effvit_mm.inference.sources import Video, find_pictures, is_video, written_video


def frames(number, size=(49, 63)):
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    return [np.roll(base, 6 * i, axis=1) for i in range(number)]


def write(file, number, rate=10.0):
    with written_video(file, rate) as append:
        for frame in frames(number):
            append(frame)


def test_pictures_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/y.txt", ".hidden/c.png", "a/._z.png", "out/drawn.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    found, left_out = find_pictures(tmp_path, without=tmp_path / "out")
    assert [(picture.name, picture.stem) for picture in found] == [("a/z.png", "a/z"), ("b.JPG", "b")]
    assert left_out == ""


def test_pictures_and_videos_that_are_left_out_are_counted_and_named_and_links_followed(tmp_path):
    for name in ("here/a.jfif", "here/b.webp", "here/c.HEIC", "here/d.mp4", "here/e.gif", "here/f.txt", "there/g.jpg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    (tmp_path / "here/linked").symlink_to(tmp_path / "there")
    (tmp_path / "there/back").symlink_to(tmp_path / "here")
    found, left_out = find_pictures(tmp_path / "here")
    assert [picture.name for picture in found] == ["a.jfif", "b.webp", "linked/g.jpg"]
    assert "3 are left out (1 .gif, 1 .heic, 1 .mp4)" in left_out


def test_pictures_that_differ_in_their_suffix_alone_get_files_of_their_own(tmp_path):
    for name in ("cat.jpg", "cat.png", "dog.png"):
        (tmp_path / name).touch()
    assert [picture.stem for picture in find_pictures(tmp_path)[0]] == ["cat.jpg", "cat.png", "dog"]


def test_a_picture_without_suffix_is_no_video_and_a_video_is(tmp_path):
    (tmp_path / "plain").write_bytes(cv2.imencode(".png", frames(1)[0])[1].tobytes())
    write(tmp_path / "film", 2)
    assert [is_video(tmp_path / name) for name in ("plain", "film", "torn.jpg")] == [False, True, False]


def test_a_video_comes_back_frame_by_frame(tmp_path):
    write(tmp_path / "walk.mp4", 5)
    video = Video(tmp_path / "walk.mp4")
    assert (video.rate, video.num_frames) == (10.0, 5)
    pictures = list(video)
    assert [picture.name for picture in pictures][::4] == ["walk.mp4/000000", "walk.mp4/000004"]
    for picture, frame in zip(pictures, frames(5), strict=True):
        # Even sides, and a codec that loses a little.
        assert picture.source.shape == (50, 64, 3)
        assert np.abs(picture.source[:49, :63].astype(int) - frame).mean() < 12
    assert video.shortfall() == ""


def test_a_video_that_ends_early_is_said_to(tmp_path):
    write(tmp_path / "walk.mp4", 5)
    video = Video(tmp_path / "walk.mp4")
    video.num_frames = 50
    list(video)
    assert "only 5 of 50 frames can be read; the file may be cut off" in video.shortfall()


def test_a_torn_video_is_refused(tmp_path):
    write(tmp_path / "walk.mp4", 5)
    whole = (tmp_path / "walk.mp4").read_bytes()
    (tmp_path / "walk.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="neither a picture nor a video"):
        Video(tmp_path / "walk.mp4")


def test_a_video_whose_writing_fails_is_not_there(tmp_path):
    def fail():
        with written_video(tmp_path / "walk.mp4", 10.0) as append:
            append(frames(1)[0])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert list(tmp_path.iterdir()) == []
