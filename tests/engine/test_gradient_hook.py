"""A run says where its gradient is not finite or absurd, before the weights take it."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from effvit_mm.engine import GradientHook
from effvit_mm.errors import BadInputError


class Network(torch.nn.Module):
    """Two layers whose gradients are what the test says."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Linear(3, 3)
        self.head = torch.nn.Linear(3, 3)


def run(gradients, *, network=None, clip_grad=None, steps=1, together=False, **options):
    """Take steps with a gradient norm for each parameter; returns what was logged."""
    network = network or Network()
    wrapper = OptimWrapper(torch.optim.SGD(network.parameters(), lr=0.1), clip_grad=clip_grad)
    logged = []
    logger = SimpleNamespace(warning=logged.append)
    whole = OptimWrapperDict(all=wrapper) if together else wrapper
    runner = SimpleNamespace(model=network, optim_wrapper=whole, logger=logger, iter=41)
    GradientHook(**options).before_train(runner)
    for _ in range(steps):
        for name, parameter in network.named_parameters():
            norm = gradients.get(name, 0.5)
            parameter.grad = torch.full_like(parameter, norm / math.sqrt(parameter.numel()))
        wrapper.step()
        runner.iter += 1
    return logged


@pytest.mark.parametrize("clip_grad", [None, dict(max_norm=1.0)])
@pytest.mark.parametrize("together", [False, True])
def test_an_absurd_gradient_is_told_with_its_norm_before_clipping_and_its_parameter(clip_grad, together):
    (message,) = run({"stem.bias": 3e7, "head.weight": 4e7}, clip_grad=clip_grad, together=together)
    assert "iteration 42" in message
    assert "norm of 5e+07" in message
    assert "head.weight has 4e+07" in message


def test_an_ordinary_gradient_is_not_told():
    assert run({"stem.bias": 9e4}, steps=3) == []


def test_what_is_absurd_again_and_again_is_told_once_an_interval():
    logged = run({"stem.bias": 1e6}, steps=7, interval=3)
    assert [message.split(":")[0] for message in logged] == ["iteration 42", "iteration 45", "iteration 48"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("clip_grad", [None, dict(max_norm=1.0)])
def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(value, clip_grad):
    network = Network()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(BadInputError, match=r"head\.weight is not finite \((nan|inf)\), one of 2 of 4 parameters"):
        run({"stem.weight": value, "head.weight": value}, network=network, clip_grad=clip_grad)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("options", [dict(interval=0), dict(limit=0.0), dict(limit=math.nan)])
def test_refused_options_are_named(options):
    with pytest.raises(ValueError, match=rf"GradientHook\.{next(iter(options))}="):
        GradientHook(**options)
