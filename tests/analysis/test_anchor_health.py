"""Anchors are measured where they work, and what works is left as it was."""

import pytest
import torch
from cases import SMALL, SMALL_PLAIN
from torch import nn

from effvit_mm.analysis.anchor_health import anchor_layers, anchor_maps, measure_anchors, watch_anchors
from effvit_mm.backbones import AnchorDeiT, AnchorFormer, DeiT
from effvit_mm.errors import BadInputError
from effvit_mm.layers import AnchorAttention
from effvit_mm.layers.anchor_statistics import effective_anchors

M = 7


def columnar(**options):
    torch.manual_seed(0)
    network = AnchorDeiT(**{**SMALL_PLAIN, "num_anchors": M, "drop_path_rate": 0.0, **options}).eval()
    for layer in anchor_layers(network).values():
        nn.init.normal_(layer.anchors, std=2 if layer.mode == "paper" else 1)
        nn.init.normal_(layer.key_value.weight)
    return network


def pictures(batch=2, height=48, width=80):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_each_layer_is_measured_on_the_keys_that_reach_it():
    network = columnar()
    measured = measure_anchors(network, pictures())
    tokens, grid = network.embed(pictures())
    for i, block in enumerate(network.blocks):
        keys = block.mixer.key_value(block.norm1(tokens)).chunk(2, -1)[0]
        expected = effective_anchors(block.mixer.assign(keys)).mean().item()
        assert measured[f"blocks.{i}.mixer"].effective == pytest.approx(expected, rel=1e-5)
        tokens = block(tokens, grid, num_prefix=2)


def test_coinciding_anchors_are_told_from_others():
    network = columnar()
    nn.init.ones_(network.blocks[1].mixer.anchors)
    measured = measure_anchors(network, pictures())
    assert measured["blocks.1.mixer"].effective == pytest.approx(1, abs=1e-5)
    assert measured["blocks.1.mixer"].similarity == pytest.approx(1, abs=1e-5)
    assert measured["blocks.2.mixer"].effective > 2


def test_two_sets_of_anchors_are_measured_together():
    network = columnar(mode="apart")
    nn.init.ones_(network.blocks[1].mixer.gather_anchors)
    measured = measure_anchors(network, pictures())
    assert measured["blocks.1.mixer"].effective == pytest.approx(1, abs=1e-4)
    assert measured["blocks.1.mixer"].similarity == pytest.approx(1, abs=1e-5)
    assert measured["blocks.2.mixer"].effective > 1.5


def test_a_map_of_two_sets_shows_what_is_gathered():
    network = columnar(mode="apart")
    maps = anchor_maps(network, pictures(batch=1))["blocks.0.mixer"]
    tokens, grid = network.embed(pictures(batch=1))
    layer = network.blocks[0].mixer
    keys = layer.key_value(network.blocks[0].norm1(tokens)).chunk(2, -1)[0]
    gather = layer.logits(keys, layer.gather_anchors).softmax(1)[0, 2:] * tokens.shape[1]  # (H * W, h, M)
    torch.testing.assert_close(maps.weights, gather.permute(1, 2, 0).unflatten(-1, grid))


@pytest.mark.parametrize("mode", ["cosine", "apart"])
def test_a_padding_mask_counts(mode):
    torch.manual_seed(0)
    layer = AnchorAttention(24, 3, num_anchors=M, mode=mode)
    x = torch.randn(2, 20, 24)
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[:, 15:] = True
    holder = nn.ModuleDict({"mixer": layer})
    seen = []
    watch_anchors(anchor_layers(holder), lambda name, assignment: seen.append(assignment.health()))
    layer(x, (4, 5), padding_mask=mask)
    layer(x[:, :15], (3, 5))
    assert seen[0].effective == pytest.approx(seen[1].effective, rel=1e-5)


def test_measuring_leaves_output_gradients_and_random_numbers_alone():
    results = []
    for measured in (False, True):
        network = columnar(with_cp=True).train()
        handles = watch_anchors(anchor_layers(network), lambda *_: None) if measured else []
        torch.manual_seed(4)
        maps = network(pictures())
        sum(fmap.square().mean() for fmap in maps).backward()
        results.append((*maps, *(p.grad for p in network.parameters()), torch.rand(3)))
        for handle in handles:
            handle.remove()
    assert all(plain.equal(watched) for plain, watched in zip(*results, strict=True))


def test_under_autocast_the_numbers_are_those_of_the_keys_in_fp32_assignments():
    network, seen = columnar(), []
    watch_anchors(anchor_layers(network), lambda name, assignment: seen.append(assignment.probabilities.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(pictures())
    assert seen == [torch.float32] * 4


def test_nothing_is_left_on_the_model():
    network = columnar()
    measure_anchors(network, pictures())
    anchor_maps(network, pictures(1))
    assert not any(module._forward_hooks for module in network.modules())


def test_a_pyramid_has_its_layers_by_name():
    names = list(measure_anchors(AnchorFormer(**SMALL, num_anchors=M), pictures(1, 64, 96)))
    assert names[0] == "stages.0.blocks.0.mixer"
    assert len(names) == sum(SMALL["depths"])


def test_maps_are_weights_over_those_of_an_average():
    network = columnar()
    maps = anchor_maps(network, pictures(1))["blocks.2.mixer"]
    assert maps.weights.shape == (3, M, 3, 5)
    assert maps.shares.shape == (3, M)
    torch.testing.assert_close(maps.shares.sum(1), torch.ones(3))
    nn.init.ones_(network.blocks[2].mixer.anchors)
    torch.testing.assert_close(anchor_maps(network, pictures(1))["blocks.2.mixer"].weights, torch.ones(3, M, 3, 5))


def test_a_map_shows_where_the_tokens_of_an_anchor_lie():
    class OneLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixer = AnchorAttention(2, 1, num_anchors=2, mode="paper")
            self.mixer.key_value.weight.data = torch.eye(2).repeat(2, 1)
            self.mixer.anchors.data = 40 * torch.eye(2)

        def forward(self, tokens):
            return self.mixer(tokens, (2, 3), num_prefix=1)

    tokens = torch.tensor([[0.0, 1.0]]).repeat(7, 1)
    tokens[5] = torch.tensor([1.0, 0.0])  # behind the prefix, row 1 and column 1
    maps = anchor_maps(OneLayer(), tokens[None])["mixer"]
    expected = torch.zeros(2, 3)
    expected[1, 1] = 7
    torch.testing.assert_close(maps.weights[0, 0], expected, atol=1e-4, rtol=0)


def test_a_model_without_anchors_is_refused():
    with pytest.raises(BadInputError, match="DeiT has no anchor attention"):
        measure_anchors(DeiT(**SMALL_PLAIN), pictures())
