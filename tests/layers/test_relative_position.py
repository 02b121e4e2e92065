"""Attention with a relative position bias against double loops, and what it keeps in memory."""

import pytest
import torch
from reference import relative_position as reference
from torch.utils.checkpoint import checkpoint

from effvit_mm.analysis import count
from effvit_mm.layers import RelativePositionAttention, relative_position
from effvit_mm.testing import check_mixer

B, H, W, C, HEADS, PREFIX = 2, 5, 7, 24, 3, 2
GRID = (H, W)
N = H * W

# Elements a piece may have: a row at a time; two rows in the forward pass; two in the backward pass; all at once.
PIECES = [1, 1_600, 25_000, relative_position.MAX_BIAS_ELEMENTS]


def built(dim=C, heads=HEADS, **options):
    torch.manual_seed(0)
    layer = RelativePositionAttention(dim, heads, **{"table_grid": GRID, **options}).double()
    # Biases as large as the logits: one that is read at a wrong place shows.
    torch.nn.init.normal_(layer.bias_table, std=2.0)
    return layer


def tokens(n=N, batch=B):
    return torch.randn(batch, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def of_reference(layer, x, bias, hidden=None):
    weights = dict(qkv=layer.qkv.weight, qkv_bias=layer.qkv.bias, proj=layer.proj.weight, proj_bias=layer.proj.bias)
    return reference.relative_attention(x, weights, bias, hidden)


def gradients(layer, x, out):
    seed = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad(out, [x, *layer.parameters()], seed)


@pytest.fixture(params=PIECES)
def in_pieces(request, monkeypatch):
    monkeypatch.setattr(relative_position, "MAX_BIAS_ELEMENTS", request.param)


@pytest.fixture
def row_by_row(monkeypatch):
    monkeypatch.setattr(relative_position, "MAX_BIAS_ELEMENTS", 1)


@pytest.mark.parametrize("grid", [(3, 5), (1, 6), (4, 1), (1, 1)])
def test_the_expanded_bias_reads_the_row_of_every_pair(grid):
    num_tokens = grid[0] * grid[1]
    rows = torch.arange((2 * grid[0] - 1) * (2 * grid[1] - 1)).view(1, 2 * grid[0] - 1, 2 * grid[1] - 1)
    expanded = relative_position.expand_bias(rows, grid, rows.dtype)[0].flip(-1)
    for i in range(num_tokens):
        for j in range(num_tokens):
            assert expanded[i, j] == reference.row_of(i, j, grid)


def test_the_expanded_bias_of_some_rows_is_a_part_of_the_whole():
    table = torch.randn(HEADS, 2 * H - 1, 2 * W - 1)
    whole = relative_position.expand_bias(table, GRID, table.dtype)
    part = relative_position.expand_bias(table[:, 1 : 3 + H - 1], GRID, table.dtype)
    assert part.equal(whole[:, W : 3 * W])


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("grid", [(5, 7), (1, 6), (4, 1), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_columns_and_pieces_give_the_same(grid, dtype):
    height, width = grid
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(B, HEADS, height * width, 8, dtype=dtype, generator=generator) for _ in range(3)]
    table = 2 * torch.randn(HEADS, 2 * height - 1, 2 * width - 1, generator=generator)
    columns = relative_position._attend_by_columns(*heads, table, grid)
    pieces = relative_position._attend_in_pieces(*heads, table, grid, None)
    torch.testing.assert_close(columns, pieces)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("num_prefix", [0, PREFIX])
@pytest.mark.parametrize("masked", [False, True])
def test_the_result_is_that_of_the_double_loop(num_prefix, masked):
    layer, x = built(), tokens(num_prefix + N)
    hidden = torch.rand(B, num_prefix + N, generator=torch.Generator().manual_seed(3)) < 0.4 if masked else None
    expected = of_reference(layer, x, reference.relative_bias(layer.bias_table, GRID, num_prefix), hidden)
    torch.testing.assert_close(layer(x, GRID, num_prefix=num_prefix, padding_mask=hidden), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, GRID, num_prefix=num_prefix, padding_mask=hidden), expected)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("num_prefix", [0, PREFIX])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradients_are_those_of_the_double_loop(num_prefix, masked):
    layer, x = built(), tokens(num_prefix + N).requires_grad_()
    hidden = torch.rand(B, num_prefix + N, generator=torch.Generator().manual_seed(3)) < 0.4 if masked else None
    expected = of_reference(layer, x, reference.relative_bias(layer.bias_table, GRID, num_prefix), hidden)
    ours = layer(x, GRID, num_prefix=num_prefix, padding_mask=hidden)
    for gradient, of_loop in zip(gradients(layer, x, ours), gradients(layer, x, expected), strict=True):
        torch.testing.assert_close(gradient, of_loop)


@pytest.mark.usefixtures("row_by_row")
def test_the_gradients_are_those_of_finite_differences():
    query, key, value = torch.randn(3, 2, 2, 6, 3, dtype=torch.float64).requires_grad_().unbind()
    key, value = (torch.cat((x, x[:, :, :1].detach()), dim=2) for x in (key, value))
    table = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda *x: relative_position.attend(*x, (2, 3), None), (query, key, value, table))


@pytest.mark.parametrize("grid", [(6, 4), (9, 13), (1, 9), (5, 1), (1, 1)])
def test_on_another_grid_the_table_is_resized_with_the_cubic_kernel(grid):
    layer, size = built(), (2 * grid[0] - 1, 2 * grid[1] - 1)
    table = reference.resize(layer.bias_table, (2 * H - 1, 2 * W - 1), size)
    torch.testing.assert_close(layer.table_on(grid), table.T.unflatten(1, size))
    x = tokens(grid[0] * grid[1])
    torch.testing.assert_close(layer(x, grid), of_reference(layer, x, reference.relative_bias(table, grid)))


@pytest.mark.parametrize("grid", [GRID, [H, W]])
def test_on_its_own_grid_the_table_is_untouched(grid):
    layer = built()
    assert layer.table_on(grid).equal(layer.bias_table.T.unflatten(1, (2 * H - 1, 2 * W - 1)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_table_in_half_precision_is_resized_in_fp32(dtype):
    layer = built().to(dtype)
    exact = built()
    exact.bias_table.data.copy_(layer.bias_table)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = layer.table_on((9, 13))
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, exact.table_on((9, 13)).float())


@pytest.mark.parametrize("limit", [1, relative_position.MAX_BIAS_ELEMENTS])
def test_the_contract_of_mixers_is_kept(limit, monkeypatch):
    monkeypatch.setattr(relative_position, "MAX_BIAS_ELEMENTS", limit)
    check_mixer(lambda dim, heads: RelativePositionAttention(dim, heads, table_grid=(3, 4)))


def test_padding_rows_are_as_good_as_absent_when_the_table_fits_both_grids():
    layer, x = built(), tokens()
    layer.bias_table.data.view(2 * H - 1, 2 * W - 1, HEADS)[:] = layer.bias_table.data[: 2 * W - 1]
    padding = (torch.arange(N) >= N - 2 * W).expand(B, -1)
    masked = layer(x, GRID, padding_mask=padding)[:, : N - 2 * W]
    torch.testing.assert_close(masked, layer(x[:, : N - 2 * W], (H - 2, W)))


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("num_prefix", [0, PREFIX])
def test_nothing_with_an_element_a_pair_of_tokens_is_kept_for_the_backward_pass(num_prefix):
    layer, kept, grid = built(), [], (12, 13)
    x = tokens(num_prefix + 12 * 13).requires_grad_()

    def pack(tensor):
        kept.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x, grid, num_prefix=num_prefix)
    assert max(kept) <= 3 * x.numel()  # the projection's output, of which query, key and value are views
    out.sum().backward()


@pytest.mark.usefixtures("in_pieces")
def test_checkpointing_the_layer_changes_no_gradient():
    layer, x = built(), tokens(PREFIX + N).requires_grad_()
    plain = layer(x, GRID, num_prefix=PREFIX)
    again = checkpoint(layer, x, GRID, num_prefix=PREFIX, use_reentrant=False)
    for ours, expected in zip(gradients(layer, x, again), gradients(layer, x, plain), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_near_fp32_in_results_and_gradients(dtype):
    layer, x = built().float(), tokens().float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        low = layer(x, GRID)
    assert low.dtype == dtype
    exact = layer(x, GRID)
    torch.testing.assert_close(low.float(), exact, rtol=0.02, atol=0.02)
    for ours, expected in zip(gradients(layer, x, low.float()), gradients(layer, x, exact), strict=True):
        assert (ours - expected).norm() < 0.02 * expected.norm()


@pytest.mark.usefixtures("row_by_row")
@pytest.mark.parametrize("with_grad", [False, True])
def test_the_exported_program_computes_the_same(with_grad):
    layer, x = built(), tokens(PREFIX + N)
    with torch.set_grad_enabled(with_grad):
        program = torch.export.export(layer, (x, GRID), {"num_prefix": PREFIX})
    torch.testing.assert_close(program.module()(x, GRID, num_prefix=PREFIX), layer(x, GRID, num_prefix=PREFIX))


@pytest.mark.usefixtures("row_by_row")
def test_the_compiled_layer_has_the_same_gradients():
    layer, x = built(), tokens().requires_grad_()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for ours, expected in zip(gradients(layer, x, compiled(x, GRID)), gradients(layer, x, layer(x, GRID)), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("grid", "heads", "pieces"), [((14, 14), 12, 1), ((25, 42), 24, 4), ((50, 84), 12, 50)])
def test_the_pieces_cover_the_grid_and_are_few(grid, heads, pieces):
    queries, rows = zip(*relative_position._pieces(grid, heads * grid[0] * grid[1]), strict=True)
    assert len(queries) == pieces
    assert [i for own in queries for i in range(own.start, own.stop)] == list(range(grid[0] * grid[1]))
    assert rows[-1].stop == 2 * grid[0] - 1


def test_a_nan_table_is_drawn_anew():
    layer = RelativePositionAttention(C, HEADS)
    layer.bias_table.data.fill_(torch.nan)
    layer.reset_parameters()
    assert layer.bias_table.shape == (13 * 13, HEADS)
    assert layer.bias_table.std().item() == pytest.approx(0.02, rel=0.1)


def test_multiply_adds_are_those_of_the_closed_form():
    layer, x = built().float().requires_grad_(False), tokens(batch=1).float()
    assert count(layer, x, GRID).macs == 4 * N * C**2 + 2 * N**2 * C


def test_parameters_are_those_of_the_closed_form():
    assert sum(p.numel() for p in built().parameters()) == 4 * C**2 + 4 * C + (2 * H - 1) * (2 * W - 1) * HEADS
    assert built(qkv_bias=False).qkv.bias is None


def test_dropout_acts_in_training_only():
    layer, x = built(proj_drop=0.5), tokens()
    assert not layer.train()(x, GRID).equal(layer(x, GRID))
    assert layer.eval()(x, GRID).equal(layer(x, GRID))


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="num_heads=5 must divide dim=24"):
        built(heads=5)


def test_an_empty_table_grid_is_refused():
    with pytest.raises(ValueError, match=r"table_grid=\(0, 7\)"):
        built(table_grid=(0, 7))


def test_a_grid_that_does_not_hold_the_tokens_is_refused():
    with pytest.raises(ValueError, match=r"grid=\(5, 7\) and num_prefix=1 make 36 tokens, but tokens has 35"):
        built()(tokens(), GRID, num_prefix=1)
