"""Tables of absolute positions against their definition."""

import pytest
import torch
from reference import relative_position as reference

from effvit_mm.layers import AbsolutePositions

B, H, W, C, PREFIX = 2, 4, 7, 12, 3
GRID = (H, W)


def built(num_prefix=0, **options):
    torch.manual_seed(0)
    return AbsolutePositions(C, GRID, num_prefix=num_prefix, **options).double()


def tokens(n):
    return torch.randn(B, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_prefix", [0, PREFIX])
@pytest.mark.parametrize("grid", [GRID, [H, W]])
def test_on_its_own_grid_the_table_is_added_as_it_is(num_prefix, grid):
    layer, x = built(num_prefix), tokens(num_prefix + H * W)
    assert layer(x, grid).equal(x + layer.table)


@pytest.mark.parametrize("grid", [(6, 5), (9, 16), (2, 3), (1, 9), (5, 1)])
def test_on_another_grid_the_places_are_resized_bilinearly_and_the_prefix_is_not(grid):
    layer, x = built(PREFIX), tokens(PREFIX + grid[0] * grid[1])
    places = reference.resize(layer.table[0, PREFIX:], GRID, grid, kernel=reference.linear)
    torch.testing.assert_close(layer(x, grid), x + torch.cat((layer.table[0, :PREFIX], places)))


@pytest.mark.parametrize("grid", [GRID, (6, 5)])
def test_tokens_without_a_prefix_skip_the_rows_in_front(grid):
    layer, places = built(PREFIX), tokens(PREFIX + grid[0] * grid[1])
    whole = layer(places, grid)
    torch.testing.assert_close(layer(places[:, PREFIX:], grid, num_prefix=0), whole[:, PREFIX:])
    assert layer(places, grid, num_prefix=PREFIX).equal(whole)


@pytest.mark.parametrize("grid", [GRID, (6, 5)])
def test_tokens_keep_their_dtype(grid):
    layer, x = built().float(), tokens(grid[0] * grid[1]).bfloat16()
    assert layer(x, grid).dtype == torch.bfloat16


def test_a_table_in_half_precision_is_resized_in_fp32():
    layer = built().bfloat16()
    exact = built()
    exact.table.data.copy_(layer.table)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = layer.rows((9, 16))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, exact.rows((9, 16)).float())


def test_every_row_learns_through_the_resize():
    layer = built(PREFIX)
    layer(tokens(PREFIX + 54), (6, 9)).square().sum().backward()
    assert layer.table.grad.abs().sum(-1).all()


def test_a_nan_table_is_drawn_anew():
    layer = AbsolutePositions(64, (14, 14), num_prefix=1)
    layer.table.data.fill_(torch.nan)
    layer.reset_parameters()
    assert layer.table.shape == (1, 197, 64)
    assert layer.table.std().item() == pytest.approx(0.02, rel=0.1)


def test_an_empty_table_grid_is_refused():
    with pytest.raises(ValueError, match=r"table_grid=\(4, 0\)"):
        AbsolutePositions(C, (4, 0))


def test_a_negative_prefix_is_refused():
    with pytest.raises(ValueError, match="num_prefix=-1"):
        built(-1)


def test_more_prefix_tokens_than_rows_are_refused():
    with pytest.raises(ValueError, match="num_prefix=2 must be 0 or 3"):
        built(PREFIX)(tokens(2 + H * W), GRID, num_prefix=2)


def test_tokens_that_are_not_those_of_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"grid=\(4, 7\) and 3 prefix tokens make 31 tokens, but tokens has 28"):
        built(PREFIX)(tokens(H * W), GRID)
