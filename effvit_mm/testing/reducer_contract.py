"""The contract of a token reducer, a check a function; every dimension in them is a different number."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effvit_mm.layers import Reduced, TokenReducer
from effvit_mm.testing.gradients import assert_gradients_above_rounding

ReducerFactory = Callable[[int, int], TokenReducer]
"""``(dim, num_heads) -> reducer``."""

BATCH, HEIGHT, WIDTH, DIM, NUM_HEADS, NUM_PREFIX = 2, 6, 10, 24, 3, 2


def check_reducer(factory: ReducerFactory) -> None:
    """Run every check of :data:`REDUCER_CHECKS`; an AssertionError says which promise is broken."""
    for check in REDUCER_CHECKS:
        check(factory)


def check_restore_gives_every_place_on_any_grid(factory: ReducerFactory) -> None:
    """Fewer tokens come out, prefix tokens first and as they were; restored, there are as many as before."""
    reducer = _built(factory)
    for grid in ((HEIGHT, WIDTH), (7, 5), (1, 13), (1, 1)):
        tokens = _tokens(grid)
        reduced = _reduce(reducer, tokens, grid)
        assert reduced.tokens.shape[0] == BATCH
        assert reduced.tokens.shape[2] == DIM
        if grid[0] * grid[1] > 10:
            assert reduced.tokens.shape[1] < tokens.shape[1], f"grid {grid}: no token is saved"
        torch.testing.assert_close(reduced.tokens[:, :NUM_PREFIX], tokens[:, :NUM_PREFIX])
        restored = reduced.restore(reduced.tokens)
        assert restored.shape == tokens.shape, f"grid {grid}: restored to {tuple(restored.shape)}"


def check_prefix_tokens_come_back_as_layers_left_them(factory: ReducerFactory) -> None:
    """What layers do to prefix tokens is in front of what is restored."""
    reduced = _reduce(_built(factory), _tokens())
    torch.testing.assert_close(reduced.restore(2 * reduced.tokens)[:, :NUM_PREFIX], 2 * reduced.tokens[:, :NUM_PREFIX])


def check_pictures_do_not_mix(factory: ReducerFactory) -> None:
    """A picture's reduction and restoration do not depend on the other pictures of its batch."""
    reducer, tokens = _built(factory), _tokens()
    alone = torch.cat([_through(_reduce(reducer, tokens[i : i + 1], part=i)) for i in range(BATCH)])
    torch.testing.assert_close(_through(_reduce(reducer, tokens)), alone)


def check_every_parameter_learns(factory: ReducerFactory) -> None:
    """In training every parameter gets a finite gradient, above rounding, from what is restored behind a layer."""
    reducer = _built(factory).train()
    out = _through(_reduce(reducer, _tokens().requires_grad_()))
    (out * torch.randn_like(out)).sum().backward()
    assert_gradients_above_rounding(reducer)


def check_padding_gives_nothing(factory: ReducerFactory) -> None:
    """Tokens under the padding mask change nothing for the others, whatever they hold: masked equals cropped."""
    reducer, rows = _built(factory), HEIGHT - 2
    whole, real = _tokens(), NUM_PREFIX + rows * WIDTH
    padding = torch.zeros(BATCH, whole.shape[1], dtype=torch.bool)
    padding[:, real:] = True
    cropped = _through(_reduce(reducer, whole[:, :real], (rows, WIDTH)))
    for content in (whole, torch.where(padding[..., None], 3 - 2 * whole, whole)):
        masked = _through(_reduce(reducer, content, padding_mask=padding))[:, :real]
        torch.testing.assert_close(masked, cropped)


def check_pictures_of_different_padding_keep_their_own_number(factory: ReducerFactory) -> None:
    """In a batch, a picture with more padding than another is reduced as if it were alone."""
    reducer, rows, whole = _built(factory), HEIGHT - 3, _tokens()
    real = NUM_PREFIX + rows * WIDTH
    padding = torch.zeros(BATCH, whole.shape[1], dtype=torch.bool)
    padding[1, real:] = True
    both = _through(_reduce(reducer, whole, padding_mask=padding))
    torch.testing.assert_close(both[:1], _through(_reduce(reducer, whole[:1])))
    alone = _through(_reduce(reducer, whole[1:, :real], (rows, WIDTH), part=1))
    torch.testing.assert_close(both[1:, :real], alone)


def check_autocast_stays_finite(factory: ReducerFactory) -> None:
    """Large tokens stay finite under bf16 autocast, forward and backward."""
    reducer = _built(factory).float().train()
    tokens = (100 * _tokens()).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = _through(_reduce(reducer, tokens))
    out.float().sum().backward()
    assert out.isfinite().all(), "the result is not finite"
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all(), "the gradient is not finite"


REDUCER_CHECKS: tuple[Callable[[ReducerFactory], None], ...] = (
    check_restore_gives_every_place_on_any_grid,
    check_prefix_tokens_come_back_as_layers_left_them,
    check_pictures_do_not_mix,
    check_every_parameter_learns,
    check_padding_gives_nothing,
    check_pictures_of_different_padding_keep_their_own_number,
    check_autocast_stays_finite,
)


def _built(factory: ReducerFactory) -> TokenReducer:
    torch.manual_seed(0)
    reducer = factory(DIM, NUM_HEADS).double().eval()
    for parameter in reducer.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.5)
    return reducer


def _tokens(grid: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, NUM_PREFIX + grid[0] * grid[1], DIM, dtype=torch.float64, generator=generator)


def _reduce(
    reducer: TokenReducer,
    tokens: Tensor,
    grid: tuple[int, int] = (HEIGHT, WIDTH),
    *,
    part: int = 0,
    padding_mask: Tensor | None = None,
) -> Reduced:
    """Reduce the tokens of pictures ``part`` and on, whose attention scores do not depend on how many there are."""
    read: dict[str, Any] = {}
    if reducer.reads_attention:
        generator = torch.Generator().manual_seed(2)
        scores = torch.randn(BATCH, NUM_HEADS, 1, NUM_PREFIX + HEIGHT * WIDTH, generator=generator)
        read["scores"] = scores[part : part + len(tokens), ..., : tokens.shape[1]].to(tokens.dtype)
    return reducer(tokens, grid, num_prefix=NUM_PREFIX, padding_mask=padding_mask, **read)


def _through(reduced: Reduced) -> Tensor:
    """Restore what a layer between would give; it looks at each token alone, and is not linear."""
    return reduced.restore(reduced.tokens.sin() + 0.5)
