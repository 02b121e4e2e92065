"""The losses on numbers worked out by hand."""

import math

import pytest
import torch

from effvit_mm.depth import DepthGradientLoss, SILogLoss

LN2 = math.log(2)


def maps(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 2, 2)


def test_silog_of_four_pixels_is_what_its_formula_gives_by_hand():
    # d = ln 2, ln 2, 0, 0 (times 2, 2, 1, 1): mean(d^2) = ln2^2 / 2, mean(d)^2 = ln2^2 / 4.
    predicted, truth = maps(2, 4, 3, 5), maps(1, 2, 3, 5)
    expected = 10 * math.sqrt(LN2**2 / 2 - 0.85 * LN2**2 / 4)
    assert SILogLoss()(predicted, truth).item() == pytest.approx(expected, rel=1e-5)


def test_silog_is_taken_over_the_batch_at_once():
    # Each picture alone is off by a constant: with lambda 1 neither costs anything, together they do.
    predicted = torch.cat([maps(2, 2, 2, 2), maps(1, 1, 1, 1)])
    truth = torch.ones(2, 1, 2, 2)
    assert SILogLoss(lambd=1.0)(predicted, truth).item() == pytest.approx(10 * LN2 / 2, rel=1e-5)


def test_silog_passes_over_pixels_that_were_not_measured_or_lie_beyond_the_bounds():
    loss = SILogLoss(min_depth=0.5, max_depth=10.0)
    partly = loss(maps(2, 9, 9, 9), maps(1, 0, 0.4, 12))
    assert partly.item() == pytest.approx(10 * math.sqrt(0.15) * LN2, rel=1e-5)


@pytest.mark.parametrize("loss", [SILogLoss(), DepthGradientLoss()], ids=lambda loss: loss.loss_name)
def test_a_batch_without_a_measured_pixel_costs_nothing_and_has_a_gradient(loss):
    predicted = maps(1, 2, 3, 4).requires_grad_()
    value = loss(predicted, maps(0, 0, 0, 0))
    value.backward()
    assert value.item() == 0
    assert predicted.grad.abs().sum() == 0


def test_silog_has_a_finite_gradient_where_the_prediction_is_right():
    predicted = maps(1, 2, 3, 4).requires_grad_()
    SILogLoss()(predicted, maps(1, 2, 3, 4)).backward()
    assert predicted.grad.isfinite().all()


def test_silog_under_autocast_is_computed_in_fp32():
    predicted, truth = maps(2, 4, 3, 5), maps(1, 2, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert SILogLoss()(predicted, truth).dtype == torch.float32


def test_gradient_loss_of_four_pixels_is_what_its_formula_gives_by_hand():
    # Log-differences [[ln 2, 0], [0, 0]]: both pairs of rows and both of columns differ by ln 2 and 0 on average ln2/2.
    predicted, truth = maps(2, 2, 3, 5), maps(1, 2, 3, 5)
    loss = DepthGradientLoss(num_scales=1, loss_weight=0.5)(predicted, truth)
    assert loss.item() == pytest.approx(0.5 * (LN2 / 2 + LN2 / 2), rel=1e-5)


@pytest.mark.parametrize(
    ("predicted", "truth"), [((2, 2, 3, 5), (1, 2, 0, 0)), ((3, 5, 2, 2), (0, 0, 1, 2))], ids=["second", "first"]
)
def test_gradient_loss_leaves_out_pairs_with_a_missing_end(predicted, truth):
    loss = DepthGradientLoss(num_scales=1, loss_weight=1.0)(maps(*predicted), maps(*truth))
    assert loss.item() == pytest.approx(LN2, rel=1e-5)


def test_gradient_loss_does_not_see_a_common_factor():
    truth = torch.rand(2, 1, 9, 14) + 1
    assert DepthGradientLoss()(3 * truth, truth).item() == pytest.approx(0, abs=1e-5)


def test_gradient_loss_looks_at_as_many_scales_as_told():
    truth = torch.ones(1, 1, 8, 8)
    predicted = 1 + torch.arange(64.0).reshape(1, 1, 8, 8)
    values = [DepthGradientLoss(num_scales=scales)(predicted, truth).item() for scales in (1, 2, 3)]
    assert values == sorted(values)
    assert len(set(values)) == 3


def test_a_lambda_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"lambd=1.5 .* 0.85"):
        SILogLoss(lambd=1.5)


def test_gradient_loss_of_no_scale_is_refused():
    with pytest.raises(ValueError, match="num_scales=0"):
        DepthGradientLoss(num_scales=0)
