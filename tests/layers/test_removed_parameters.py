"""Biases that nothing could learn are gone; files that hold them load, and the contract finds the next one."""

import pytest
import torch
from cases import SMALL_PLAIN
from torch import nn

from effvit_mm.backbones import Plain, ReducedDeiT, ToSADeiT
from effvit_mm.checkpoint.intake import fit_backbone
from effvit_mm.layers import ConvolutionalProjectionAttention
from effvit_mm.layers.removed_parameters import removed_parameters
from effvit_mm.testing import MIXER_CHECKS
from effvit_mm.testing.gradients import assert_gradients_above_rounding

NETWORKS = {
    "scorer": (lambda: ToSADeiT(**SMALL_PLAIN, importance="scored"), "selections.0.scorer.fc2.bias"),
    "selector": (lambda: ToSADeiT(**SMALL_PLAIN), "selections.2.selector.conv2.bias"),
    "learner": (lambda: ReducedDeiT(**SMALL_PLAIN, reducers="token_learner"), "reducers.2.score.2.bias"),
    "fuser": (lambda: ReducedDeiT(**SMALL_PLAIN, reducers="token_learner"), "reducers.2.fuser.mix.bias"),
    "keys": (lambda: Plain(**SMALL_PLAIN, mixers="convolutional_projection"), "blocks.1.mixer.key.bias"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_with_a_removed_bias_loads(name):
    build, removed = NETWORKS[name]
    network, twin = build(), build()
    assert removed in removed_parameters(network)
    assert removed not in network.state_dict()
    old = {**network.state_dict(), removed: torch.zeros(3)}
    twin.load_state_dict(old, strict=True)
    for key, value in twin.state_dict().items():
        assert value.equal(network.state_dict()[key])
    intake = fit_backbone(twin, old, "old.pth")
    assert intake.dropped == {removed: "a bias without effect, which this layer no longer has"}


def test_other_names_that_do_not_fit_are_still_refused():
    network = NETWORKS["scorer"][0]()
    with pytest.raises(RuntimeError, match=r"selections\.0\.scorer\.fc1\.shift"):
        network.load_state_dict({**network.state_dict(), "selections.0.scorer.fc1.shift": torch.zeros(1)})


def test_the_contract_refuses_a_bias_that_the_softmax_takes_out():
    class WithKeyBias(ConvolutionalProjectionAttention):
        def __init__(self, dim, num_heads):
            super().__init__(dim, num_heads)
            self.key = nn.Linear(dim, dim)

    check = next(check for check in MIXER_CHECKS if check.__name__ == "check_every_parameter_learns")
    with pytest.raises(AssertionError, match=r"key\.bias is zero but for rounding"):
        check(WithKeyBias)
    check(ConvolutionalProjectionAttention)


def test_a_missing_gradient_and_a_broken_one_are_named():
    layer = nn.Linear(3, 2).double()
    with pytest.raises(AssertionError, match="weight has no gradient"):
        assert_gradients_above_rounding(layer)
    layer(torch.full((1, 3), torch.inf, dtype=torch.float64)).sum().backward()
    with pytest.raises(AssertionError, match="weight is not finite"):
        assert_gradients_above_rounding(layer)
