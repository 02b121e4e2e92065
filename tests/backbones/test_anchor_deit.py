"""The released AnchorFormer networks: their exact sizes, their operator, and how a new one starts."""

import pytest
import torch
from cases import SMALL_PLAIN

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.backbones import AnchorDeiT

# With two tokens and two heads for 1000 classes.
CLASSIFIERS = {
    "anchor_deit_t": 5_484_560,
    "anchor_deit_s": 20_676_176,
    "anchor_deit_b": 80_255_696,
    "anchor_deit_b_384": 80_547_536,
}


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_classifier_has_the_released_parameters(name):
    with torch.device("meta"):
        network = effvit_mm.create_classifier(name)
    assert sum(p.numel() for p in network.parameters()) == CLASSIFIERS[name]


@torch.no_grad()
def test_a_classifier_takes_the_released_multiply_adds():
    network = effvit_mm.create_classifier("anchor_deit_t").eval()
    macs = count(network, torch.randn(1, 3, 224, 224)).macs
    n, c, m = 196 + 2, 192, 30
    blocks = 12 * (11 * n * c**2 + 3 * n * m * c)
    assert macs == 196 * 768 * c + blocks + 2 * c * 1000
    assert macs / 1e9 == pytest.approx(1.03, abs=0.005)


def test_a_block_has_the_parameters_of_the_closed_form():
    for variant, dim, head_dim in (("t", 192, 64), ("s", 384, 64), ("b", 768, 64)):
        with torch.device("meta"):
            mixer = AnchorDeiT(variant=variant).blocks[5].mixer
        assert sum(p.numel() for p in mixer.parameters()) == 3 * dim**2 + dim + 30 * head_dim


def test_every_layer_is_the_papers_operator_without_bias_on_keys_and_values():
    for block in AnchorDeiT(**SMALL_PLAIN).blocks:
        assert block.mixer.mode == "paper"
        assert block.mixer.anchors.shape == (30, 8)
        assert block.mixer.key_value.bias is None
        assert block.mixer.local is None


def test_options_of_the_operator_reach_every_layer():
    backbone = AnchorDeiT(**SMALL_PLAIN, num_anchors=4, mode="cosine", shared_anchors=False, local="dwconv")
    for block in backbone.blocks:
        assert block.mixer.anchors.shape == (3, 4, 8)
        assert block.mixer.log_temperature is not None
        assert block.mixer.local is not None


@pytest.mark.parametrize("redraw", [False, True])
def test_projections_start_as_torchs_linear_does(redraw):
    backbone = AnchorDeiT(variant="t", depth=1)
    if redraw:
        backbone.init_weights()
    block = backbone.blocks[0]
    for layer in (block.mixer.key_value, block.mixer.proj, block.mlp.fc1, block.mlp.fc2):
        assert layer.weight.std().item() == pytest.approx((3 * layer.in_features) ** -0.5, rel=0.03)
        assert layer.weight.abs().max() <= layer.in_features**-0.5
    assert block.mlp.fc1.bias.abs().max() > 0


@torch.no_grad()
def test_cost_grows_linearly_with_the_pixels():
    backbone = AnchorDeiT(**SMALL_PLAIN, num_prefix=0).eval()
    macs = [count(backbone, torch.randn(1, 3, side, side)).macs for side in (128, 256, 512)]
    assert macs == [macs[0], 4 * macs[0], 16 * macs[0]]
