"""Picture and depth stay aligned, depth is never mixed, and what cannot be right is refused."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from effvit_mm.depth import BorderCrop, LoadDepth, RandomGammaBrightnessColor, read_depth, write_depth
from effvit_mm.errors import BadInputError


def transforms(*steps):
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmseg"):
        return Compose(list(steps))


def scene(height=60, width=84):
    """A picture whose red channel is 20 times its depth, in six flat patches 1 to 6 metres away."""
    depth = np.kron(np.arange(1.0, 7.0).reshape(2, 3), np.ones((height // 2, width // 3))).astype(np.float32)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 2] = 20 * depth
    return dict(
        img=picture, gt_depth_map=depth, seg_fields=["gt_depth_map"], img_shape=(height, width), img_path="a.jpg"
    )


def agreement(results):
    """Share of the pixels with depth where picture and depth still say the same."""
    picture, depth = results["img"][..., 2], results["gt_depth_map"]
    assert picture.shape == depth.shape
    return (np.abs(picture[depth > 0] - 20 * depth[depth > 0]) <= 1).mean()


ROTATE = dict(type="RandomRotate", prob=1.0, degree=(10, 10), pad_val=0, seg_pad_val=0)
FLIP = dict(type="RandomFlip", prob=1.0)
CROP = dict(type="RandomCrop", crop_size=(40, 50))
BORDER = dict(type="BorderCrop", rows=(7, 51), columns=(5, 70), size=(60, 84))


@pytest.mark.parametrize("steps", [[FLIP], [CROP], [BORDER]], ids=["flip", "crop", "border"])
def test_picture_and_depth_stay_aligned_exactly(steps):
    results = transforms(*steps)(scene())
    assert agreement(results) == 1
    assert not np.array_equal(results["img"], scene()["img"])


def test_picture_and_depth_stay_aligned_under_rotation_except_at_edges():
    # Bilinear values of the picture lie between patches; one row or column of pixels at each edge.
    results = transforms(ROTATE)(scene())
    assert agreement(results) > 0.9
    assert (results["gt_depth_map"] != scene()["gt_depth_map"]).mean() > 0.1


def test_the_whole_training_pipeline_keeps_picture_and_depth_aligned():
    np.random.seed(0)
    results = transforms(BORDER, dict(ROTATE, degree=2.5), FLIP, CROP)(scene())
    assert results["img"].shape == (40, 50, 3)
    assert agreement(results) > 0.9


@pytest.mark.parametrize("step", [ROTATE, dict(type="Resize", scale=(61, 47))], ids=["rotate", "resize"])
def test_depth_is_moved_by_nearest_neighbours_so_no_value_is_new(step):
    results = transforms(step)(scene())
    assert set(np.unique(results["gt_depth_map"])) <= set(range(7))


def test_border_crop_keeps_the_rows_and_columns_of_nyu():
    results = dict(img=np.zeros((480, 640, 3), np.uint8), gt_depth_map=np.zeros((480, 640)), seg_fields=[])
    results["seg_fields"].append("gt_depth_map")
    results["gt_depth_map"][45, 43] = results["gt_depth_map"][471, 607] = 1
    results = BorderCrop()(results)
    assert results["img_shape"] == (427, 565)
    assert results["gt_depth_map"][0, 0] == results["gt_depth_map"][-1, -1] == 1


def test_border_crop_refuses_a_picture_of_another_size():
    with pytest.raises(BadInputError, match=r"a.jpg is 60 x 84 .* 480 x 640"):
        BorderCrop()(scene())


def test_border_crop_refuses_a_box_that_leaves_the_picture():
    with pytest.raises(ValueError, match=r"rows=\(0, 481\)"):
        BorderCrop(rows=(0, 481))


def color(picture, **ranges):
    fixed = dict(prob=1.0, gamma=(1, 1), brightness=(1, 1), color=(1, 1))
    return RandomGammaBrightnessColor(**{**fixed, **ranges})(dict(img=picture))["img"]


RAMP = np.arange(0, 256, 5, dtype=np.uint8).repeat(3).reshape(4, 13, 3)


def test_factors_of_one_change_nothing():
    assert np.array_equal(color(RAMP), RAMP)


def test_gamma_is_applied_to_values_from_0_to_1():
    assert np.array_equal(color(RAMP, gamma=(1.1, 1.1)), np.rint(255 * (RAMP / 255) ** 1.1))


def test_brightness_scales_all_channels_and_is_clipped():
    assert np.array_equal(color(RAMP, brightness=(1.25, 1.25)), np.rint(np.minimum(1.25 * RAMP, 255)))


def test_color_scales_each_channel_by_a_factor_of_its_own():
    np.random.seed(0)
    factors = color(np.full((1, 1, 3), 200, np.uint8), color=(0.9, 1.1))[0, 0] / 200
    assert len(set(factors)) == 3
    assert ((factors >= 0.89) & (factors <= 1.11)).all()


def test_probability_zero_changes_nothing():
    assert np.array_equal(color(RAMP, prob=0.0, brightness=(0.5, 0.5)), RAMP)


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match="gamma="):
        RandomGammaBrightnessColor(gamma=(1.1, 0.9))


@pytest.mark.parametrize("scale", [1000.0, 256.0])
def test_depth_survives_writing_and_reading_within_half_a_unit(tmp_path, scale):
    depth = np.array([[0.0, 0.5, 1.2344], [9.9996, 3.25, 60.0]], np.float32)
    write_depth(tmp_path / "d.png", depth, scale)
    assert np.abs(read_depth(tmp_path / "d.png", scale) - depth).max() <= 0.5 / scale + 1e-5


def test_depth_that_no_16_bits_hold_is_written_as_the_farthest_and_nan_as_not_measured(tmp_path):
    write_depth(tmp_path / "d.png", np.array([[100.0, np.nan]]))
    assert read_depth(tmp_path / "d.png").tolist() == [[pytest.approx(65.535), 0.0]]


def load(file, **results):
    return LoadDepth()(dict(depth_map_path=str(file), depth_scale=1000.0, img_path="a.jpg", seg_fields=[], **results))


def test_loading_depth_divides_by_the_scale_of_the_data_set(tmp_path):
    write_depth(tmp_path / "d.png", np.full((3, 4), 2.5))
    results = load(tmp_path / "d.png", ori_shape=(3, 4))
    assert results["gt_depth_map"].dtype == np.float32
    assert (results["gt_depth_map"] == 2.5).all()
    assert results["seg_fields"] == ["gt_depth_map"]


def test_depth_of_another_size_than_its_picture_is_refused(tmp_path):
    write_depth(tmp_path / "d.png", np.ones((3, 4)))
    with pytest.raises(BadInputError, match=r"d.png is 3 x 4 .* a.jpg is 4 x 3"):
        load(tmp_path / "d.png", ori_shape=(4, 3))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(np.ones((3, 4), np.uint8), "8 bits and 1 channel,"), (np.ones((3, 4, 3), np.uint16), "16 bits and 3 channels")],
)
def test_a_picture_that_is_no_16_bit_depth_is_refused(tmp_path, content, kind):
    cv2.imwrite(str(tmp_path / "d.png"), content)
    with pytest.raises(BadInputError, match=kind):
        read_depth(tmp_path / "d.png")


def test_depth_written_as_the_refusal_of_a_file_says_is_read_in_metres(tmp_path):
    metres = np.array([[0.5, 2.5, 19.0], [300.0, 0.0, 7.0]])
    file = str(tmp_path / "d.png")
    cv2.imwrite(file, np.ones((2, 3), np.uint8))
    with pytest.raises(BadInputError) as caught:
        read_depth(file, 256.0)
    exec(str(caught.value).rpartition("says: ")[2], dict(cv2=cv2, np=np, file=file, metres=metres))
    assert np.array_equal(read_depth(file, 256.0), np.minimum(metres, 65535 / 256).astype(np.float32))


def test_a_torn_depth_map_is_refused_by_name(tmp_path):
    (tmp_path / "d.png").write_bytes(b"\x89PNG torn")
    with pytest.raises(BadInputError, match=r"d.png is torn"):
        read_depth(tmp_path / "d.png")


def test_a_missing_depth_map_is_refused_by_name(tmp_path):
    with pytest.raises(BadInputError, match=r"d.png cannot be read"):
        read_depth(tmp_path / "d.png")
