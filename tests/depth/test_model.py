"""Heads and estimator: shapes, bounds, parity with what they stand for, and test modes."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from torch import nn

from effvit_mm.depth import LinearDepthHead, MonoDepthEstimator, PyramidDepthHead
from effvit_mm.registry import MODELS
from effvit_mm.testing.gradients import assert_gradients_above_rounding

CHANNELS = (6, 10, 14)
GRIDS = ((9, 13), (5, 7), (3, 4))


def fmaps(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, *grid, generator=generator) for c, grid in zip(CHANNELS, GRIDS, strict=True)]


def pyramid_head(**options):
    torch.manual_seed(0)
    return PyramidDepthHead(**{**dict(in_channels=CHANNELS, in_index=(0, 1, 2), channels=8, num_bins=5), **options})


def linear_head(**options):
    torch.manual_seed(0)
    return LinearDepthHead(**{**dict(in_channels=CHANNELS, in_index=(0, 1, 2), num_bins=5), **options})


heads = pytest.mark.parametrize(
    ("make", "size"), [(pyramid_head, (18, 26)), (linear_head, (9, 13))], ids=["pyramid", "linear"]
)
outputs = pytest.mark.parametrize("output", ["sigmoid", "bins"])


@heads
@outputs
def test_head_predicts_metres_between_its_bounds_on_any_grid(make, size, output):
    head = make(output=output, min_depth=0.5, max_depth=3.0)
    for factor in (1, 1e4, -1e4):
        depth = head([factor * fmap for fmap in fmaps()])
        assert depth.shape == (2, 1, *size)
        assert ((depth >= 0.5) & (depth <= 3.0)).all()


@heads
@outputs
def test_every_parameter_of_a_head_gets_a_gradient(make, size, output):
    head = make(output=output).double()
    head([fmap.double() for fmap in fmaps()]).square().sum().backward()
    assert_gradients_above_rounding(head)


@heads
def test_head_reads_the_maps_it_is_told_to(make, size):
    head = make(in_channels=CHANNELS[:2], in_index=(1, 2))
    extra = torch.randn(2, 3, 20, 20)
    maps = [extra, *fmaps()[:2]]
    assert head(maps).shape[-2:] == size


@heads
def test_pictures_of_a_batch_do_not_see_each_other(make, size):
    head, maps = make(), fmaps()
    alone = torch.cat([head([fmap[i : i + 1] for fmap in maps]) for i in range(2)])
    torch.testing.assert_close(head(maps), alone)


def test_bins_give_the_mean_of_evenly_spaced_depths_weighted_by_relu_plus_a_tenth():
    head = linear_head(output="bins", num_bins=3, min_depth=1.0, max_depth=5.0)
    scores = torch.tensor([0.9, -4.0, 1.9]).reshape(1, 3, 1, 1)
    # Weights 1.0, 0.1, 2.0 on depths 1, 3, 5.
    assert head.to_depth(scores).item() == pytest.approx((1 + 0.3 + 10) / 3.1, rel=1e-6)


@pytest.mark.parametrize("no_return", [65.535, 10.0, 1e-3])
def test_depth_that_the_metric_leaves_out_does_not_train(no_return):
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    head = linear_head(loss_decode=[dict(type="SILogLoss"), dict(type="DepthGradientLoss")])
    losses = []
    for value in (0.0, no_return):
        truth = torch.full((1, 20, 24), 5.0)
        truth[:, :7] = value
        samples = [SegDataSample(gt_depth_map=PixelData(data=truth)) for _ in range(2)]
        losses.append(head.loss(fmaps(), samples))
    assert losses[0] == losses[1]
    assert losses[0]["loss_silog"] > 0


def test_sigmoid_maps_zero_to_the_middle_of_the_bounds():
    head = linear_head(output="sigmoid", min_depth=1.0, max_depth=5.0)
    assert head.to_depth(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(3)


@pytest.mark.parametrize("upsample", [1, 4])
def test_linear_head_equals_one_convolution_on_the_concatenated_maps(upsample):
    head, maps = linear_head(upsample=upsample).double(), [fmap.double() for fmap in fmaps()]
    size = (9 * upsample, 13 * upsample)
    stacked = torch.cat([F.interpolate(fmap, size, mode="bilinear") for fmap in maps], dim=1)
    weight = torch.cat([read.weight for read in head.read], dim=1)
    expected = head.to_depth(F.conv2d(stacked, weight, head.read[0].bias))
    torch.testing.assert_close(head(maps), expected)


def test_depth_is_fp32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert pyramid_head()(fmaps()).dtype == torch.float32


def test_several_losses_are_given_by_name_at_the_resolution_of_the_ground_truth():
    from mmseg.structures import SegDataSample

    head = pyramid_head(loss_decode=[dict(type="SILogLoss"), dict(type="DepthGradientLoss")])
    samples = [SegDataSample(gt_depth_map=PixelData(data=torch.full((1, 37, 51), 2.0))) for _ in range(2)]
    losses = head.loss(fmaps(), samples)
    assert losses.keys() == {"loss_silog", "loss_gradient"}
    assert all(loss > 0 for loss in losses.values())
    twice = pyramid_head(loss_decode=[dict(type="SILogLoss")] * 2)
    twice.load_state_dict(head.state_dict())
    torch.testing.assert_close(twice.loss(fmaps(), samples)["loss_silog"], 2 * losses["loss_silog"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(output="softmax"), "output='softmax'"),
        (dict(min_depth=0.0), "min_depth=0.0"),
        (dict(min_depth=3.0, max_depth=2.0), "max_depth=2.0"),
        (dict(output="bins", num_bins=1), "num_bins=1"),
        (dict(in_index=(0, 1)), "one entry a map"),
    ],
)
@heads
def test_what_a_head_cannot_be_is_refused(make, size, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@MODELS.register_module()
class LopsidedBackbone(nn.Module):
    """One map of stride 1 that tells left from right."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, pictures):
        fmap = self.conv(pictures)
        return [fmap * torch.linspace(0, 1, fmap.shape[-1])]


def estimator(**test_cfg):
    torch.manual_seed(0)
    return MonoDepthEstimator(
        backbone=dict(type="LopsidedBackbone"),
        decode_head=dict(type="LinearDepthHead", in_channels=(4,), in_index=(0,), output="sigmoid"),
        data_preprocessor=dict(type="mmseg.SegDataPreProcessor", size_divisor=1),
        test_cfg=ConfigDict(test_cfg),
    ).eval()


PICTURES = torch.randn(2, 3, 10, 14, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def predicted(model, pictures=PICTURES):
    return torch.stack([sample.pred_depth_map.data for sample in model(pictures, mode="predict")])


def test_whole_flip_is_the_mean_of_both_predictions():
    whole = estimator(mode="whole")
    expected = (predicted(whole) + predicted(whole, PICTURES.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(predicted(estimator(mode="whole_flip")), expected)
    assert not torch.allclose(expected, predicted(whole))


def test_a_prediction_with_flip_is_that_of_the_mirrored_picture_mirrored():
    model = estimator(mode="whole_flip")
    torch.testing.assert_close(predicted(model), predicted(model, PICTURES.flip(-1)).flip(-1))


def test_slide_slides():
    model = estimator(mode="slide", crop_size=(10, 7), stride=(10, 7))
    halves = [predicted(estimator(mode="whole"), part) for part in (PICTURES[..., :7], PICTURES[..., 7:])]
    torch.testing.assert_close(predicted(model), torch.cat(halves, dim=-1))


def test_slide_flip_is_the_mean_of_both_slides():
    window = dict(crop_size=(10, 7), stride=(10, 7))
    slide = estimator(mode="slide", **window)
    expected = (predicted(slide) + predicted(slide, PICTURES.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(predicted(estimator(mode="slide_flip", **window)), expected)


@pytest.mark.parametrize(
    ("test_cfg", "message"), [(dict(mode="flip"), "mode='flip'"), (dict(mode="slide"), "crop_size")]
)
def test_a_mode_that_cannot_be_is_refused(test_cfg, message):
    with pytest.raises(ValueError, match=message):
        estimator(**test_cfg)
