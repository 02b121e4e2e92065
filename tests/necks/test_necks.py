"""Necks across scales: shapes, channels that do not fit, what they change, and their place in stock models."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from effvit_mm.necks import ContextBridge, QueryBridge
from effvit_mm.testing.gradients import assert_gradients_above_rounding

CHANNELS, SIZES = (6, 10, 17), ((7, 9), (4, 5), (2, 3))


def built(kind, **options):
    torch.manual_seed(0)
    return kind(in_channels=CHANNELS, **options).double().eval()


def maps(channels=CHANNELS, sizes=SIZES, batch=2):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, c, *size, dtype=torch.float64, generator=generator)
        for c, size in zip(channels, sizes, strict=True)
    ]


necks = pytest.mark.parametrize("kind", [ContextBridge, QueryBridge])


@necks
@pytest.mark.parametrize("sizes", [SIZES, ((8, 8), (4, 4), (2, 2)), ((1, 13), (1, 7), (1, 4)), ((1, 1),) * 3])
def test_maps_keep_their_shapes_at_any_size(kind, sizes):
    out = built(kind)(maps(sizes=sizes))
    assert isinstance(out, tuple)
    assert [fmap.shape for fmap in out] == [(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


@necks
def test_every_parameter_learns(kind):
    neck = built(kind)
    # Not at the start of training, where projections are too small for a sum to be seen through every norm.
    for parameter in neck.parameters():
        nn.init.normal_(parameter, std=0.5)
    sum((fmap * torch.randn_like(fmap)).sum() for fmap in neck(maps())).backward()
    assert_gradients_above_rounding(neck)


@necks
def test_pictures_do_not_mix(kind):
    neck, batch = built(kind), maps()
    for together, *alone in zip(
        neck(batch), neck([fmap[:1] for fmap in batch]), neck([fmap[1:] for fmap in batch]), strict=True
    ):
        torch.testing.assert_close(together, torch.cat(alone))


@necks
def test_half_precision_is_finite_and_near(kind):
    neck, batch = built(kind).float(), [fmap.float() for fmap in maps()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = neck(batch)
    for ours, exact in zip(low, neck(batch), strict=True):
        assert ours.isfinite().all()
        assert (ours.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@necks
def test_init_weights_leaves_nothing(kind):
    neck = built(kind)
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.fill_(torch.nan)
    neck.init_weights()
    assert not [name for name, p in neck.named_parameters() if p.isnan().any()]


@necks
def test_maps_of_other_channels_are_refused_with_the_remedy(kind):
    with pytest.raises(ValueError, match=r"built for in_channels=\(6, 10, 17\), but got 3 maps of \[6, 10, 12\]"):
        built(kind)(maps(channels=(6, 10, 12)))


def test_a_map_of_several_times_the_token_is_several_tokens_and_needs_no_projection():
    neck = ContextBridge(in_channels=(6, 12, 30), dim=6)
    assert neck.layers[0].multiples == (1, 2, 5)
    assert not [name for name, _ in neck.named_parameters() if name.startswith("project")]


def test_other_channels_are_projected_to_the_next_multiple_and_back():
    neck = built(ContextBridge, dim=6)
    assert neck.layers[0].multiples == (1, 2, 3)
    assert [type(part) for part in neck.project] == [nn.Identity, nn.Linear, nn.Linear]
    assert neck.project_back[2].weight.shape == (17, 18)


@pytest.mark.parametrize("channels", [CHANNELS, (6, 12, 18)])
def test_a_bridge_that_changes_nothing_gives_the_maps_back(channels):
    neck = ContextBridge(in_channels=channels, dim=6, num_layers=2).double()
    for name, parameter in neck.named_parameters():
        if name.endswith(("proj.weight", "proj.bias", "fc2.weight", "fc2.bias")) or name.startswith("project_back"):
            nn.init.zeros_(parameter) if not name.startswith("project_back.1.weight") else None
    batch = maps(channels)
    for after, before in zip(neck(batch), batch, strict=True):
        torch.testing.assert_close(after, before)


def test_checkpointing_changes_nothing():
    results = []
    for with_cp in (False, True):
        neck = built(ContextBridge, num_layers=2, with_cp=with_cp).train()
        batch = [fmap.requires_grad_() for fmap in maps()]
        out = neck(batch)
        sum(fmap.square().mean() for fmap in out).backward()
        results.append([*out, *(p.grad for p in neck.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_the_papers_sizes_have_its_numbers_of_tokens_and_keys():
    neck = ContextBridge(in_channels=(64, 128, 320, 512), num_layers=1)
    seen = {}
    neck.layers[0].query.register_forward_hook(lambda module, args, out: seen.update(tokens=out.shape[1]))
    neck.layers[0].key_value.register_forward_hook(lambda module, args, out: seen.update(keys=out.shape[1]))
    with torch.no_grad():
        neck([torch.randn(1, c, s, s) for c, s in zip((64, 128, 320, 512), (56, 28, 14, 7), strict=True)])
    assert seen == {"tokens": 6076, "keys": 784}


def test_what_a_query_finds_is_the_same_everywhere_on_a_map():
    batch = maps()
    for after, before in zip(built(QueryBridge)(batch), batch, strict=True):
        change = (after - before).flatten(2)
        torch.testing.assert_close(change, change[..., :1].expand_as(change))
        assert change.abs().amax() > 1e-3 * before.abs().amax()


@necks
@pytest.mark.parametrize("scope", ["mmdet", "mmseg", None])
def test_a_config_builds_it_by_its_name_in_front_of_fpn(kind, scope):
    fpn = dict(type="mmdet.FPN", in_channels=list(CHANNELS), out_channels=8, num_outs=4)
    with DefaultScope.overwrite_default_scope(scope), MODELS.switch_scope_and_registry(scope) as registry:
        neck = registry.build([dict(type=kind.__name__, in_channels=list(CHANNELS)), fpn])
    out = neck([fmap.float() for fmap in maps()])
    assert [fmap.shape[1:3] for fmap in out[:3]] == [(8, size[0]) for size in SIZES]


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (ContextBridge, {"in_channels": (6,)}, "two maps or more"),
        (QueryBridge, {"in_channels": 6}, "two maps or more"),
        (ContextBridge, {"reduction_ratios": (2, 1)}, r"reduction_ratios=\(2, 1\) must be .* 3 maps"),
        (ContextBridge, {"reduction_ratios": (2, 1, 0)}, "at least 1"),
        (ContextBridge, {"num_layers": 0}, "num_layers=0"),
        (ContextBridge, {"num_heads": 4}, "num_heads=4 must divide dim=6"),
    ],
)
def test_what_is_not_allowed_is_named(kind, options, named):
    with pytest.raises(ValueError, match=named):
        kind(**{"in_channels": CHANNELS, **options})
