"""The contract of a token mixer, a check a function; every dimension in them is a different number."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from effvit_mm.testing.gradients import assert_gradients_above_rounding

MixerFactory = Callable[[int, int], nn.Module]
"""``(dim, num_heads) -> mixer``."""

BATCH, HEIGHT, WIDTH, DIM, NUM_HEADS, NUM_PREFIX = 2, 6, 10, 24, 3, 2


def check_mixer(factory: MixerFactory) -> None:
    """Run every check of :data:`MIXER_CHECKS`; an AssertionError says which promise is broken."""
    for check in MIXER_CHECKS:
        check(factory)


def check_shape_on_any_grid(factory: MixerFactory) -> None:
    """Tokens come back in the shape they came in, on any grid, with and without prefix tokens."""
    mixer = _built(factory)
    for grid in ((HEIGHT, WIDTH), (7, 5), (1, 13), (1, 1)):
        for num_prefix in (0, NUM_PREFIX):
            tokens = torch.randn(BATCH, num_prefix + grid[0] * grid[1], DIM, dtype=torch.float64)
            out = mixer(tokens, grid, num_prefix=num_prefix)
            assert out.shape == tokens.shape, f"grid {grid}, {num_prefix} prefix tokens: {tuple(out.shape)}"


def check_pictures_do_not_mix(factory: MixerFactory) -> None:
    """A picture's result does not depend on the other pictures of its batch."""
    mixer, tokens = _built(factory), _tokens()
    together = mixer(tokens, (HEIGHT, WIDTH))
    alone = torch.cat([mixer(picture[None], (HEIGHT, WIDTH)) for picture in tokens])
    torch.testing.assert_close(together, alone)


def check_every_parameter_learns(factory: MixerFactory) -> None:
    """Every parameter gets a finite gradient, above rounding, from tokens of which some lie on no grid."""
    mixer = _built(factory).train()
    # The tokens learn too: a mixer may have no parameters.
    tokens = torch.cat([_tokens()[:, :NUM_PREFIX], _tokens()], dim=1).requires_grad_()
    out = mixer(tokens, (HEIGHT, WIDTH), num_prefix=NUM_PREFIX)
    (out * torch.randn_like(out)).sum().backward()
    assert_gradients_above_rounding(mixer)


def check_padding_gives_nothing(factory: MixerFactory) -> None:
    """Tokens under the padding mask change nothing for the others, whatever they hold: masked equals cropped.

    Below a picture and right of it, with and without prefix tokens. A mixer with a table of positions (``table_grid``)
    reads it resized to the whole grid, and one that moves its windows (``shift``) moves them where the whole grid is
    longer than one: masked is not always cropped there, and they are only held to what the padding holds.
    """
    mixer = _built(factory)
    depends_on_grid = hasattr(mixer, "table_grid") or getattr(mixer, "shift", 0)
    for height, width in ((HEIGHT - 2, WIDTH), (HEIGHT, WIDTH - 3), (HEIGHT - 1, WIDTH - 4)):
        for num_prefix in (0, NUM_PREFIX):
            padding = torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.bool)
            padding[:, :height, :width] = False
            mask = torch.nn.functional.pad(padding.flatten(1), (num_prefix, 0))
            whole = torch.cat([_tokens()[:, :num_prefix], _tokens()], dim=1)
            masked, kept = (
                mixer(tokens, (HEIGHT, WIDTH), num_prefix=num_prefix, padding_mask=mask)[:, ~mask[0]]
                for tokens in (whole, torch.where(mask[..., None], 3 - 2 * whole, whole))
            )
            torch.testing.assert_close(masked, kept)
            if not depends_on_grid:
                cropped = mixer(whole[:, ~mask[0]], (height, width), num_prefix=num_prefix)
                torch.testing.assert_close(masked, cropped)


def check_all_padding_spoils_nothing(factory: MixerFactory) -> None:
    """A picture that is all padding leaves results and gradients of the other pictures finite, and its own."""
    mixer = _built(factory).train()
    tokens = torch.cat([_tokens()[:, :NUM_PREFIX], _tokens()], dim=1).requires_grad_()
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    mask[0, NUM_PREFIX:] = True
    for num_prefix in (0, NUM_PREFIX):
        first = NUM_PREFIX - num_prefix
        out = mixer(tokens[:, first:], (HEIGHT, WIDTH), num_prefix=num_prefix, padding_mask=mask[:, first:])
        assert out.isfinite().all(), f"{num_prefix} prefix tokens: the result is not finite"
        out.sum().backward()
        for name, parameter in mixer.named_parameters():
            gradient = parameter.grad
            assert gradient is None or gradient.isfinite().all(), f"the gradient of {name} is not finite"


def check_autocast_stays_finite(factory: MixerFactory) -> None:
    """Large tokens stay finite under bf16 autocast, forward and backward."""
    mixer = _built(factory).float().train()
    tokens = (100 * _tokens()).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = mixer(tokens, (HEIGHT, WIDTH))
    out.float().sum().backward()
    assert out.isfinite().all(), "the result is not finite"
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all(), "the gradient is not finite"


def check_half_precision_is_near(factory: MixerFactory) -> None:
    """Under fp16 autocast, which overflows at 65504, many large tokens give what they give in fp32."""
    mixer, grid = _built(factory).float(), (32, 48)
    tokens = 10 + 10 * torch.randn(1, grid[0] * grid[1], DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = mixer(tokens, grid)
        with torch.autocast("cpu", dtype=torch.float16):
            out = mixer(tokens, grid)
    error = float((out - expected).abs().mean() / expected.abs().mean())
    assert error < 0.02, f"fp16 differs from fp32 by {error:.1%}"


MIXER_CHECKS: tuple[Callable[[MixerFactory], None], ...] = (
    check_shape_on_any_grid,
    check_pictures_do_not_mix,
    check_every_parameter_learns,
    check_padding_gives_nothing,
    check_all_padding_spoils_nothing,
    check_autocast_stays_finite,
    check_half_precision_is_near,
)


def _built(factory: MixerFactory) -> nn.Module:
    torch.manual_seed(0)
    mixer = factory(DIM, NUM_HEADS).double().eval()
    for parameter in mixer.parameters():
        # A zero-initialised weight would hide whatever stands behind it.
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    return mixer


def _tokens() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, HEIGHT * WIDTH, DIM, dtype=torch.float64, generator=generator)
