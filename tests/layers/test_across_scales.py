"""The bridge and the fusion across scales against loops over their equations, and timm's module on shared weights."""

import pytest
import torch
from reference import reducers
from timm.models import crossvit

from effvit_mm import layers

B, C = 2, 6
GRIDS, MULTIPLES, RATIOS = [(7, 9), (4, 5), (2, 3)], (1, 2, 3), (4, 2, 1)


def built(kind, *args, **options):
    torch.manual_seed(0)
    layer = kind(*args, **options).double().eval()
    for value in layer.parameters():
        value.data.uniform_(0.5, 1.5) if value.ndim < 2 else value.data.normal_(std=0.4)
    return layer


def scales(sizes, dims):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(B, n, c, dtype=torch.float64, generator=generator) for n, c in zip(sizes, dims, strict=True)]


def bridged_scales():
    return scales([h * w * m for (h, w), m in zip(GRIDS, MULTIPLES, strict=True)], [C] * 3)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_a_bridge_layer_is_that_of_the_loops_over_the_equations(num_heads):
    layer = built(layers.ContextBridgeLayer, C, MULTIPLES, RATIOS, num_heads=num_heads, mlp_ratio=2)
    tokens = bridged_scales()
    for b in range(B):
        expected = reducers.context_bridge_layer(
            [scale[b] for scale in tokens], layer.state_dict(), GRIDS, MULTIPLES, RATIOS, num_heads
        )
        for ours, theirs in zip(layer(tokens, GRIDS), expected, strict=True):
            torch.testing.assert_close(ours[b], theirs)


def test_every_scale_hears_of_every_other():
    layer = built(layers.ContextBridgeLayer, C, MULTIPLES, RATIOS)
    tokens = [scale.requires_grad_() for scale in bridged_scales()]
    for out in layer(tokens, GRIDS):
        grads = torch.autograd.grad(out[:, 0].sum(), tokens, retain_graph=True)
        assert all(grad.abs().sum() > 0 for grad in grads)


def test_heads_that_do_not_divide_the_channels_are_named():
    with pytest.raises(ValueError, match="num_heads=4 must divide dim=6"):
        layers.ContextBridgeLayer(C, MULTIPLES, RATIOS, num_heads=4)


def timms_fusion(dims, heads):
    """timm's block without the transformer layers of its branches."""
    count = len(dims)
    theirs = crossvit.MultiScaleBlock(
        dims, (1,) * count, (1,) * count + (0,), heads, (2.0,) * count, qkv_bias=True, drop_path=[0.0]
    )
    theirs.blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in dims)
    return theirs.double().eval()


def test_query_fusion_equals_timms():
    dims, heads = (6, 8), (3, 2)
    ours, theirs = built(layers.QueryFusion, dims, heads, norm_eps=1e-5), timms_fusion(dims, heads)
    state = {}
    for s in range(2):
        part = {"projs": ours.to_other[s], "revert_projs": ours.back[s]}
        for name, module in part.items():
            state |= {f"{name}.{s}.{key}": value for key, value in module.state_dict().items()}
        state |= {f"fusion.{s}.norm1.{key}": value for key, value in ours.norms[s].state_dict().items()}
        attention = ours.attentions[s].state_dict()
        for key in ("weight", "bias"):
            state[f"fusion.{s}.attn.wq.{key}"] = attention[f"query.{key}"]
            for name, value in zip(("wk", "wv"), attention[f"key_value.{key}"].chunk(2), strict=True):
                state[f"fusion.{s}.attn.{name}.{key}"] = value
            state[f"fusion.{s}.attn.proj.{key}"] = attention[f"proj.{key}"]
    theirs.load_state_dict(state)
    tokens = scales((5, 11), dims)
    for fused, expected in zip(ours(tokens), theirs(tokens), strict=True):
        torch.testing.assert_close(fused, expected)


def test_only_the_asking_token_changes():
    tokens = scales((5, 11, 3), (6, 8, 10))
    for before, after in zip(tokens, built(layers.QueryFusion, (6, 8, 10), 2)(tokens), strict=True):
        torch.testing.assert_close(after[:, 1:], before[:, 1:], rtol=0, atol=0)
        assert not torch.allclose(after[:, 0], before[:, 0])


def test_the_last_scale_asks_the_first():
    fusion, tokens = built(layers.QueryFusion, (6, 8, 10), 2), scales((5, 11, 3), (6, 8, 10))
    before = fusion(tokens)
    tokens[0] = tokens[0].clone()
    # One channel: the same for all channels would be taken out by the norm in front.
    tokens[0][:, 2:, 0] += 1
    changed = [not torch.equal(a[:, 0], b[:, 0]) for a, b in zip(fusion(tokens), before, strict=True)]
    assert changed == [False, False, True]


def test_a_query_does_not_see_padding():
    fusion, tokens = built(layers.QueryFusion, (6, 8)), scales((5, 11), (6, 8))
    padding = torch.zeros(B, 11, dtype=torch.bool)
    padding[:, 7:] = True
    masked = fusion(tokens, (None, padding))
    torch.testing.assert_close(masked[0], fusion([tokens[0], tokens[1][:, :7]])[0])


def test_attention_of_one_query_is_the_first_row_of_self_attention():
    single, whole = built(layers.query_fusion.SingleQueryAttention, 6, 3), built(layers.SelfAttention, 6, 3)
    state = single.state_dict()
    weights = {}
    for key in ("weight", "bias"):
        weights[f"qkv.{key}"] = torch.cat([state[f"query.{key}"], state[f"key_value.{key}"]])
        weights[f"proj.{key}"] = state[f"proj.{key}"]
    whole.load_state_dict(weights)
    (tokens,) = scales((11,), (6,))
    torch.testing.assert_close(single(tokens), whole(tokens, (1, 11))[:, :1])


@pytest.mark.parametrize(
    ("dims", "heads", "named"),
    [((6,), 1, "two scales or more"), ((6, 8), (1, 2, 3), "one for each of the 2"), ((6, 8), 4, "must divide dim=6")],
)
def test_a_bad_option_is_named(dims, heads, named):
    with pytest.raises(ValueError, match=named):
        layers.QueryFusion(dims, heads)
