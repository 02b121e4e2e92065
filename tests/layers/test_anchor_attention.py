"""Anchor attention against its equations, and the laws of the walk it takes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import attention as reference
from reference.anchor_deit import Attention as Official

from effvit_mm.analysis import count
from effvit_mm.layers import AnchorAttention

B, H, W, C, HEADS, M = 2, 4, 7, 24, 3, 5
GRID = (H, W)
MODES = ("paper", "cosine", "apart")


def built(**options):
    torch.manual_seed(0)
    return AnchorAttention(C, HEADS, **{"num_anchors": M, **options}).double().eval()


def tokens(n=H * W, batch=B):
    return torch.randn(batch, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def walk(layer, x):
    """The implied matrix S (B, h, N, N): what the layer's two steps do to the identity."""
    if layer.mode == "apart":
        keys = layer.key_value(x).chunk(2, dim=-1)[0]
        columns = torch.eye(x.shape[1], dtype=x.dtype)[:, :, None].expand(-1, -1, C)  # one token's value is 1
        mixed = torch.stack([layer.exchange(keys, column.expand_as(keys)) for column in columns], dim=-1)
        return mixed.unflatten(2, (HEADS, -1))[:, :, :, 0].transpose(1, 2)
    assignment = layer.assign(layer.key_value(x).chunk(2, dim=-1)[0]).transpose(1, 2)  # (B, h, N, M)
    return assignment / assignment.sum(2, keepdim=True) @ assignment.transpose(-2, -1)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_paper_mode_equals_the_dense_walk_matrix(spread):
    layer, x = built(mode="paper"), tokens()
    layer.anchors.data *= spread
    expected = reference.anchor_attention(
        x, layer.key_value.weight, layer.anchors, layer.proj.weight, layer.proj.bias, num_heads=HEADS
    )
    torch.testing.assert_close(layer(x, GRID), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_apart_mode_equals_the_loops_over_its_equations(shared):
    layer, x = built(mode="apart", shared_anchors=shared), tokens()
    layer.log_temperature.data = torch.tensor([0.5, 0.1, 0.02], dtype=torch.float64).log()
    anchors = (layer.gather_anchors.expand(HEADS, -1, -1), layer.anchors.expand(HEADS, -1, -1))
    temperatures = layer.log_temperature.exp()
    expected = reference.apart_anchor_attention(
        x, layer.key_value.weight, *anchors, layer.proj.weight, layer.proj.bias, temperatures=temperatures
    )
    torch.testing.assert_close(layer(x, GRID), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("spread", [1, 30])
@torch.no_grad()
def test_paper_mode_equals_the_official_operator_in_single_precision(spread):
    torch.manual_seed(0)
    official, layer = Official(192, 3, 30), AnchorAttention(192, 3, mode="paper")
    official.dist_anchor_B.weight *= spread
    names = {
        "key_value.weight": "x_to_emb.weight",
        "anchors": "dist_anchor_B.weight",
        "proj.weight": "to_out.0.weight",
        "proj.bias": "to_out.0.bias",
    }
    layer.load_state_dict({ours: official.state_dict()[theirs] for ours, theirs in names.items()}, strict=True)
    x = torch.randn(2, 198, 192)
    expected = official(x)
    assert (layer(x, (14, 14), num_prefix=2) - expected).abs().max() < 2e-5 * expected.std()


def test_cosine_mode_is_the_paper_mode_on_unit_keys_and_anchors():
    layer, x = built(mode="cosine"), tokens()
    keys = layer.key_value(x).chunk(2, dim=-1)[0].unflatten(-1, (HEADS, -1))
    unit_keys = keys / keys.norm(dim=-1, keepdim=True)
    unit_anchors = layer.anchors / layer.anchors.norm(dim=-1, keepdim=True)
    logits = (unit_keys @ unit_anchors.T) / layer.log_temperature.exp()[:, None]
    torch.testing.assert_close(layer.assign(keys.flatten(2)), logits.softmax(-1))


@pytest.mark.parametrize("mode", ["cosine", "apart"])
def test_the_temperature_never_falls_below_its_floor(mode):
    layer, x = built(mode=mode), tokens()
    layer.log_temperature.data.fill_(-50.0)
    colder = layer(x, GRID)
    layer.log_temperature.data.fill_(-100.0)
    assert colder.isfinite().all()
    torch.testing.assert_close(layer(x, GRID), colder, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["paper", "cosine"])
@pytest.mark.parametrize("shared", [True, False])
@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 6), width=st.integers(1, 6), spread=st.floats(0.1, 20))
def test_walk_is_symmetric_doubly_stochastic_and_of_low_rank(mode, shared, height, width, spread):
    layer = built(mode=mode, shared_anchors=shared)
    layer.anchors.data *= spread
    matrix = walk(layer, tokens(height * width))
    ones = torch.ones(matrix.shape[:-1], dtype=matrix.dtype)
    torch.testing.assert_close(matrix, matrix.transpose(-2, -1))
    torch.testing.assert_close(matrix.sum(-1), ones)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1e-9
    assert eigenvalues.max() < 1 + 1e-9
    assert (torch.linalg.matrix_rank(matrix) <= M).all()


@pytest.mark.parametrize("shared", [True, False])
@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 6), width=st.integers(1, 6), temperature=st.floats(0.01, 2))
def test_apart_anchors_average_with_low_rank(shared, height, width, temperature):
    layer = built(mode="apart", shared_anchors=shared)
    layer.log_temperature.data.fill_(math.log(temperature))
    matrix = walk(layer, tokens(height * width))
    torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1], dtype=matrix.dtype))
    assert matrix.min() >= 0
    assert (torch.linalg.matrix_rank(matrix) <= M).all()


def test_apart_anchors_let_a_token_give_more_than_it_takes():
    layer, x = built(mode="apart"), tokens()
    matrix = walk(layer, x)
    assert matrix.sum(-2).max() > 2  # the walk gives every token one token's worth of weight
    assert (matrix - matrix.transpose(-2, -1)).abs().max() > 0.1


def test_swapping_the_two_sets_of_anchors_changes_the_result():
    layer, x = built(mode="apart"), tokens()
    before = layer(x, GRID)
    layer.anchors.data, layer.gather_anchors.data = layer.gather_anchors.data, layer.anchors.data
    assert not torch.allclose(layer(x, GRID), before)


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_picture_of_values_stays_constant(mode):
    layer = built(mode=mode)
    layer.key_value.weight.data[C:] = 0
    layer.key_value.weight.data[C:, 0] = torch.arange(C)
    layer.proj.weight.data = torch.eye(C, dtype=torch.float64)
    layer.proj.bias.data.zero_()
    x = tokens()
    x[..., 0] = 1
    torch.testing.assert_close(layer(x, GRID), torch.arange(C, dtype=torch.float64).expand_as(x))


@pytest.mark.parametrize("mode", MODES)
def test_permuting_the_tokens_permutes_the_result(mode):
    layer, x = built(mode=mode), tokens()
    order = torch.randperm(H * W, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(x[:, order], GRID), layer(x, GRID)[:, order])


def test_anchors_differ_at_the_start_in_cosine_mode_and_coincide_in_paper_mode():
    torch.manual_seed(0)
    x = torch.randn(1, 196, 192)
    effective = {}
    for mode in ("paper", "cosine"):
        layer = AnchorAttention(192, 3, mode=mode)
        torch.nn.init.trunc_normal_(layer.key_value.weight, std=0.02)
        effective[mode] = walk(layer, x).diagonal(dim1=-2, dim2=-1).sum(-1).mean().item()
    assert effective["paper"] == pytest.approx(1.0, abs=0.02)
    assert effective["cosine"] > 2


@pytest.mark.parametrize("mode", MODES)
def test_local_branch_adds_a_convolution_of_the_values_and_prefix_tokens_skip_it(mode):
    plain, local = built(mode=mode), built(mode=mode, local="dwconv")
    local.load_state_dict(plain.state_dict(), strict=False)
    x = tokens(2 + H * W)
    values = plain.key_value(x).chunk(2, dim=-1)[1]
    nearby = local.local(values[:, 2:].transpose(1, 2).unflatten(-1, GRID)).flatten(2).transpose(1, 2)
    added = local(x, GRID, num_prefix=2) - plain(x, GRID, num_prefix=2)
    torch.testing.assert_close(added[:, 2:], nearby @ local.proj.weight.T)
    assert not added[:, :2].any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_peaked_logits_stay_finite_at_67200_tokens_in_half_precision(dtype, mode):
    torch.manual_seed(0)
    layer = AnchorAttention(8, 1, num_anchors=3, mode=mode).to(dtype)
    layer.anchors.data.fill_(20.0)
    layer.anchors.data[1:] = -20.0
    layer.key_value.weight.data.fill_(1.0)
    with torch.no_grad():
        out = layer(torch.ones(1, 67_200, 8, dtype=dtype), (210, 320))
    assert out.dtype == dtype
    assert out.isfinite().all()


def of_800x1344_pixels(dtype, mode):
    """A layer and its 67,200 tokens at stride 4, in ``dtype``, and twins of both in float64 with the same numbers."""
    torch.manual_seed(0)
    layer = AnchorAttention(8, 2, num_anchors=3, mode=mode).to(dtype)
    layer.anchors.data *= 30
    x = torch.randn(1, 67_200, 8).to(dtype)
    twin = AnchorAttention(8, 2, num_anchors=3, mode=mode).double()
    twin.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    return layer, x, twin, x.double()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_is_near_double_at_67200_tokens(dtype, mode):
    layer, x, twin, x64 = of_800x1344_pixels(dtype, mode)
    expected = twin(x64, (210, 320))
    error = (layer(x, (210, 320)) - expected).abs().max() / expected.abs().max()
    # The projections round in the low precision, and the softmax sees rounded keys.
    assert error < 16 * torch.finfo(dtype).eps


@pytest.mark.parametrize("mode", ["cosine", "apart"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_67200_tokens_are_finite_and_near_double_in_half_precision(dtype, mode):
    layer, x, twin, x64 = of_800x1344_pixels(dtype, mode)
    for network, tokens in ((layer, x), (twin, x64)):
        # A mean over so many would leave gradients below the least number of fp16.
        (network(tokens, (210, 320)).square().sum() / 1024).backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    error = (layer.proj.weight.grad - twin.proj.weight.grad).norm() / twin.proj.weight.grad.norm()
    assert error < 32 * torch.finfo(dtype).eps


def test_an_anchor_that_no_token_chooses_gives_nothing_and_has_finite_gradients():
    layer, x = built(mode="paper").float(), tokens().float()
    layer.key_value.weight.data[:C] = 1e3  # Every key points the same way, so far that the others underflow.
    layer.anchors.data[:] = torch.eye(M, C // HEADS)
    layer.anchors.data[0] = -1e3
    x = x.abs()
    out = layer(x, GRID)
    out.square().sum().backward()
    assert layer.assign(layer.key_value(x).chunk(2, -1)[0])[..., 0].max() == 0
    for parameter in (*layer.parameters(), out):
        assert parameter.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_a_bias_of_the_values_folds_into_the_bias_of_the_projection(mode):
    with_bias, without = built(mode=mode, qkv_bias=True), built(mode=mode)
    with torch.no_grad():
        with_bias.key_value.bias[C:].normal_()
        with_bias.key_value.bias[:C] = 0
        state = {name: value for name, value in with_bias.state_dict().items() if name != "key_value.bias"}
        state["proj.bias"] = state["proj.bias"] + with_bias.proj.weight @ with_bias.key_value.bias[C:]
    without.load_state_dict(state)
    torch.testing.assert_close(without(tokens(), GRID), with_bias(tokens(), GRID))


@pytest.mark.parametrize("mode", MODES)
def test_memory_kept_for_the_backward_grows_linearly(mode):
    def kept_elements(n):
        storages = {}
        layer, x = built(mode=mode), tokens(n)

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = layer(x, (n // 8, 8))
        del out
        return sum(storages.values())

    small, double, quadruple = (kept_elements(n) for n in (512, 1024, 2048))
    assert quadruple - double == 2 * (double - small)


@pytest.mark.parametrize("shared", [True, False])
def test_parameters_and_multiply_adds_are_those_of_the_closed_form(shared):
    layer, n = built(mode="paper", shared_anchors=shared).float(), H * W
    anchors = M * C // HEADS if shared else M * C
    assert sum(p.numel() for p in layer.parameters()) == 3 * C**2 + C + anchors
    assert count(layer, tokens(batch=1).float(), GRID).macs == 3 * n * C**2 + 3 * n * M * C


@pytest.mark.parametrize("shared", [True, False])
def test_apart_mode_costs_one_more_product_and_one_more_set_of_anchors(shared):
    layer, n = built(mode="apart", shared_anchors=shared).float(), H * W
    anchors = M * C // HEADS if shared else M * C
    assert sum(p.numel() for p in layer.parameters()) == 3 * C**2 + C + 2 * anchors + HEADS  # a temperature a head
    assert count(layer, tokens(batch=1).float(), GRID).macs == 3 * n * C**2 + 4 * n * M * C


@pytest.mark.parametrize(
    ("options", "named"),
    [({"num_anchors": 0}, "num_anchors"), ({"mode": "soft"}, "mode"), ({"local": "conv"}, "local")],
)
def test_a_bad_option_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        built(**options)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="num_heads=5 must divide dim=24"):
        AnchorAttention(24, 5)


def test_dropout_acts_in_training_only():
    layer, x = built(proj_drop=0.5), tokens()
    assert not layer.train()(x, GRID).equal(layer(x, GRID))
    assert layer.eval()(x, GRID).equal(layer(x, GRID))


def test_the_key_value_bias_exists_on_demand():
    assert built(qkv_bias=True).key_value.bias is not None
    assert built().key_value.bias is None
