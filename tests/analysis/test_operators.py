"""Every formula against a hand count, and all forms of one product counted alike."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from effvit_mm.analysis import count, counting
from effvit_mm.analysis.counting import _count_run

# B, N, C, D, h, d, M: all different.
B, N, C, D = 2, 7, 12, 5


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def lines(function, *args):
    """Multiply-adds by line, without the lines of zero."""
    return {line: cost.macs for line, cost in count(Function(function), *args).by_line().items() if cost.macs}


@pytest.mark.parametrize(
    ("product", "macs"),
    [
        (lambda: torch.randn(B, N, C) @ torch.randn(C, D), B * N * C * D),
        (lambda: torch.randn(B, N, C) @ torch.randn(B, C, D), B * N * C * D),
        (lambda: torch.randn(N, C) @ torch.randn(C), N * C),
        (lambda: torch.randn(C) @ torch.randn(C), C),
        (lambda: torch.outer(torch.randn(N), torch.randn(D)) @ torch.randn(D, C), N * D * C),
        (lambda: torch.einsum("bnc,bmc->bnm", torch.randn(B, N, C), torch.randn(B, D, C)), B * N * C * D),
        (lambda: torch.einsum("bnhd,hmd->bnhm", torch.randn(B, N, 3, 4), torch.randn(3, 6, 4)), B * N * 3 * 4 * 6),
        (lambda: torch.baddbmm(torch.randn(B, N, D), torch.randn(B, N, C), torch.randn(B, C, D)), B * N * C * D),
        (lambda: torch.addmm(torch.randn(N, D), torch.randn(N, C), torch.randn(C, D)), N * C * D),
        (lambda: torch.addmv(torch.randn(N), torch.randn(N, C), torch.randn(C)), N * C),
        (lambda: F.linear(torch.randn(B, N, C), torch.randn(D, C), torch.randn(D)), B * N * C * D),
        (lambda: torch.addr(torch.randn(N, D), torch.randn(N), torch.randn(D)), N * D),
        (lambda: torch.randn(N, D).addr_(torch.randn(N), torch.randn(D)), N * D),
        (lambda: torch.randn(N, D).addmm_(torch.randn(N, C), torch.randn(C, D)), N * C * D),
        (lambda: torch.randn(N, D).addbmm_(torch.randn(B, N, C), torch.randn(B, C, D)), B * N * C * D),
        (lambda: torch.randn(B, N, D).baddbmm_(torch.randn(B, N, C), torch.randn(B, C, D)), B * N * C * D),
        (lambda: torch.randn(N).addmv_(torch.randn(N, C), torch.randn(C)), N * C),
    ],
)
def test_products_of_matrices_count_rows_times_inner_times_columns(product, macs):
    assert lines(product) == {"matmul": macs}


def test_distances_count_the_product_that_they_are_made_of_and_pair_by_pair_stand_beside_the_total():
    def by_product(x, y):
        norms = [points.square().sum(-1, keepdim=True) for points in (x, y)]
        ones = [torch.ones_like(norm) for norm in norms]
        return torch.cat([-2 * x, norms[0], ones[0]], -1) @ torch.cat([y, ones[1], norms[1]], -1).mT

    x, y = torch.randn(B, 30, C), torch.randn(B, 40, C)
    many = Function(torch.cdist)
    torch.testing.assert_close(many(x, y).square(), by_product(x, y), rtol=1e-3, atol=1e-3)
    assert count(many, x, y).macs == count(Function(by_product), x, y).macs == B * 30 * 40 * (C + 2)
    for options in ({"compute_mode": "donot_use_mm_for_euclid_dist"}, {"p": 1.0}):
        ledger = count(Function(lambda x, y, options=options: torch.cdist(x, y, **options)), x, y)
        assert ledger.by_line()["distances"].macs == B * 30 * 40 * C
        assert ledger.macs == 0
    assert count(Function(F.pdist), x[0]).by_line()["distances"].macs == 30 * 29 // 2 * C


def test_a_linear_layer_has_a_line_of_its_own():
    assert {line: cost.macs for line, cost in count(nn.Linear(C, D), torch.randn(B, N, C)).by_line().items()} == {
        "linear": B * N * C * D
    }


@pytest.mark.parametrize(
    ("layer", "line", "macs_a_place"),
    [
        (nn.Conv2d(6, 4, (3, 2), stride=2, padding=1), "convolution", 6 * 4 * 3 * 2),
        (nn.Conv2d(6, 4, 3, groups=2, dilation=2), "convolution", 3 * 4 * 9),
        (nn.Conv2d(6, 12, 3, groups=6), "depth-wise convolution", 12 * 9),
        (nn.Conv2d(1, 4, 3), "convolution", 4 * 9),
    ],
)
def test_convolutions_count_their_window_for_every_place_they_write(layer, line, macs_a_place):
    fmap = torch.randn(B, layer.in_channels, 11, 9)
    height, width = layer(fmap).shape[-2:]
    assert lines(layer, fmap) == {line: B * height * width * macs_a_place}


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_count_their_window_for_every_place_they_read(groups):
    layer = nn.ConvTranspose2d(6, 4, (3, 2), stride=2, groups=groups)
    assert lines(layer, torch.randn(B, 6, 5, 7)) == {"transposed convolution": B * 5 * 7 * 6 * 4 * 3 * 2 // groups}


@pytest.mark.parametrize("dimensions", [1, 3])
def test_convolutions_of_other_dimensions_are_counted(dimensions):
    layer = getattr(nn, f"Conv{dimensions}d")(3, 5, 2, bias=False)
    places = 4**dimensions
    assert lines(layer, torch.randn(B, 3, *[5] * dimensions)) == {"convolution": B * places * 3 * 5 * 2**dimensions}


QUERY, KEY, VALUE = torch.randn(B, 3, 5, 4), torch.randn(B, 3, 7, 4), torch.randn(B, 3, 7, 6)
ATTENTION = B * 3 * 5 * 7 * (4 + 6)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, None])
def test_attention_counts_the_same_whatever_its_backend(backend):
    value = VALUE[..., :4].contiguous()
    attend = Function(F.scaled_dot_product_attention)
    for counted in (count, lambda module, *args: _count_run(module, args, {})):
        if backend is None:
            ledger = counted(attend, QUERY, KEY, value)
        else:
            with sdpa_kernel(backend):
                ledger = counted(attend, QUERY, KEY, value)
        assert ledger.by_line()["attention"].macs == ledger.macs == B * 3 * 5 * 7 * 8


@pytest.mark.parametrize("options", [{}, {"attn_mask": torch.randn(5, 7)}, {"attn_mask": torch.ones(5, 7).bool()}])
def test_a_mask_saves_nothing_and_values_may_be_wider_than_keys(options):
    attend = Function(lambda *qkv: F.scaled_dot_product_attention(*qkv, **options))
    assert count(attend, QUERY, KEY, VALUE).macs == ATTENTION


def test_causal_attention_counts_as_full_attention():
    attend = Function(lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True))
    assert count(attend, KEY, KEY, KEY).macs == B * 3 * 7 * 7 * 8


def test_attention_by_keyword_arguments_is_counted():
    attend = Function(lambda q, k, v: F.scaled_dot_product_attention(value=v, key=k, query=q))
    assert count(attend, QUERY, KEY, VALUE).macs == ATTENTION


def test_attention_whose_heads_share_keys_costs_as_if_they_did_not():
    pytest.importorskip("torch", minversion="2.5")
    attend = Function(lambda *qkv: F.scaled_dot_product_attention(*qkv, enable_gqa=True))
    key = torch.randn(B, 1, 7, 4)
    assert count(attend, QUERY, key, key).macs == B * 3 * 5 * 7 * 8


@pytest.mark.parametrize(
    "operator",
    ["_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"],
)
def test_a_fused_kernel_that_is_called_past_torchs_function_is_counted(operator):
    ledger = count(Function(getattr(torch.ops.aten, operator)), QUERY, KEY, VALUE[..., :4].contiguous())
    assert ledger.macs == B * 3 * 5 * 7 * 8


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch before 2.6 always compiles flex_attention")
@pytest.mark.parametrize("options", [{}, {"score_mod": lambda score, b, h, i, j: score + (i - j)}])
def test_flex_attention_counts_like_attention(options):
    from torch.nn.attention.flex_attention import flex_attention

    attend = Function(lambda *qkv: flex_attention(*qkv, **options))
    query, key, value = torch.randn(B, 3, 16, 4), torch.randn(B, 3, 32, 4), torch.randn(B, 3, 32, 4)
    for counted in (count, lambda module, *args: _count_run(module, args, {})):
        ledger = counted(attend, query, key, value)
        assert ledger.by_line()["attention"].macs == ledger.macs == B * 3 * 16 * 32 * 8
        assert not ledger.unknown()


def test_a_mask_of_flex_attention_saves_nothing():
    pytest.importorskip("torch", minversion="2.6")
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    x = torch.randn(B, 3, 16, 4)
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 16, 16, device="cpu")
    ledger = count(Function(lambda x: flex_attention(x, x, x, block_mask=mask)), x)
    assert ledger.macs == B * 3 * 16 * 16 * 8


def test_a_compiled_module_counts_like_itself():
    pytest.importorskip("torch", minversion="2.6")
    layer, tokens = nn.Sequential(nn.Linear(C, D), nn.GELU()), torch.randn(B, N, C)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert count(compiled, tokens).macs == count(layer, tokens).macs == B * N * C * D


def test_torchs_transformer_layer_is_counted_part_by_part():
    layer = nn.TransformerEncoderLayer(C, 3, D, batch_first=True)
    assert count(layer, torch.randn(B, N, C)).macs == B * (4 * N * C * C + 2 * N * N * C + 2 * N * C * D)


def test_deformable_convolution_counts_its_product_and_beside_it_its_sampling():
    from torchvision.ops import deform_conv2d

    fmap, weight = torch.randn(B, 6, 8, 10), torch.randn(5, 6, 2, 2)
    offset, mask = torch.randn(B, 8, 4, 5), torch.rand(B, 4, 4, 5)
    product, sampled = B * 4 * 5 * 6 * 5 * 4, B * 4 * 5 * 6 * 4
    ledger = count(Function(lambda *args: deform_conv2d(*args, stride=2)), fmap, offset, weight)
    assert ledger.by_line()["deformable sampling"].macs == 4 * sampled
    assert ledger.macs == product
    modulated = Function(lambda *args: deform_conv2d(*args[:3], stride=2, mask=args[3]))
    assert count(modulated, fmap, offset, weight, mask).by_line()["deformable sampling"].macs == 5 * sampled


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (lambda *a: F.grid_sample(*a, align_corners=False), ((B, 3, 8, 9), (B, 4, 5, 2)), ("grid sampling", 120 * 4)),
        (lambda x: F.interpolate(x, size=(8, 6), mode="bilinear"), ((B, 3, 4, 5),), ("interpolation", 288 * 4)),
        (lambda x: F.interpolate(x, size=(8, 6), mode="bicubic"), ((B, 3, 4, 5),), ("interpolation", 288 * 16)),
        (
            lambda x: F.interpolate(x, size=(2, 5), mode="bilinear", antialias=True),
            ((B, 3, 4, 5),),
            ("interpolation", 60 * 8),
        ),
    ],
)
def test_sampling_counts_its_neighbours_beside_the_total(function, args, expected):
    ledger = count(Function(function), *map(torch.randn, args))
    line, macs = expected
    assert ledger.by_line()[line].macs == macs
    assert ledger.macs == 0


def test_an_embedding_bag_counts_its_weighted_rows_beside_the_total():
    table, rows, weights = torch.randn(9, 3), torch.randint(9, (5, 4)), torch.randn(5, 4)
    weighted = Function(lambda *args: F.embedding_bag(*args[:2], per_sample_weights=args[2], mode="sum"))
    assert count(weighted, rows, table, weights).by_line()["embedding-bag sampling"].macs == 5 * 4 * 3
    plain = count(Function(lambda *args: F.embedding_bag(*args, mode="sum")), rows, table)
    assert plain.by_line()["embedding-bag sampling"].macs == 0


@pytest.mark.parametrize(
    ("function", "line", "read", "written"),
    [
        (lambda x: x.softmax(-1), "softmax", 480, 480),
        (lambda x: F.layer_norm(x, (12,)), "norm", 480, 480 + 2 * 40),
        (lambda x: x.gather(1, torch.zeros(2, 3, 12, dtype=torch.long)), "gather and scatter", 288, 288),
        (lambda x: x + 1, "element-wise", 480, 480),
        (lambda x: torch.cat([x, x], 1), "copy", 960, 960),
        (lambda x: x.mean(1), "reduction", 480, 96),
        (lambda x: x.half(), "copy", 480, 240),
        (lambda x: x[:1].expand(4, 5, 12).mul(2), "element-wise", 240, 960),
    ],
)
def test_bytes_are_those_of_the_tensors_read_and_written(function, line, read, written):
    cost = count(Function(function), torch.randn(2, 5, 12)).by_line()[line]
    assert (cost.bytes_read, cost.bytes_written) == (read, written)


def test_views_and_empty_tensors_cost_nothing():
    def shuffle(x):
        x.new_empty(3)
        return x.transpose(1, 2).unflatten(1, (3, 4))[:, 1:].permute(0, 3, 1, 2).detach().unsqueeze_(0)

    assert count(Function(shuffle), torch.randn(2, 5, 12)).entries == {}


def test_an_operator_that_no_formula_is_known_for_is_listed_with_its_share_of_calls():
    @torch.library.custom_op("effvit_mm_test::cube", mutates_args=())
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x**3

    ledger = count(Function(lambda x: cube(x) + cube(x) + 1), torch.randn(2, 3))
    assert ledger.unknown() == {"effvit_mm_test::cube": 0.5}
    assert ledger.by_line()["unknown"].bytes_written == 2 * 24


@pytest.mark.parametrize("cache", [torch.no_grad, torch.inference_mode])
def test_a_block_of_code_is_counted_in_any_gradient_mode(cache):
    linear, conv = nn.Linear(C, D), nn.Conv2d(3, 4, 2)
    with cache(), counting(linear) as ledger:
        linear(torch.randn(B, N, C))
        conv(torch.randn(B, 3, 5, 5))
        F.scaled_dot_product_attention(QUERY, KEY, VALUE)
    assert ledger.macs == B * N * C * D + B * 16 * 4 * 12 + ATTENTION


def test_autocast_changes_bytes_and_not_multiply_adds():
    layer, tokens = nn.Sequential(nn.Linear(C, D), nn.Conv1d(N, 3, 2)), torch.randn(B, N, C)
    plain = count(layer, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = count(layer, tokens)
    assert mixed.macs == plain.macs == B * N * C * D + B * 4 * 3 * N * 2
    assert mixed.by_line()["convolution"].bytes_written == plain.by_line()["convolution"].bytes_written / 2
