"""A token mixer of another library behind the interface of those here."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid, map_to_tokens, tokens_to_map
from effvit_mm.layers.heads import extents

Layout = Literal["tokens", "tokens_and_grid", "map", "map_channels_last"]
CHANNELS = ("dim", "dims", "embed_dim", "embed_dims", "in_dim", "in_channels", "in_chs", "channels")


class LibraryMixer(nn.Module):
    """Run a module of timm, mmpretrain or any other library on tokens.

    The module knows nothing of padding: a picture that has any is cut out and mixed alone, together with those of its
    size, so that it gets what it would get without padding.

    Args:
        dim: Channels C of a token; the module's first argument, if that is named as channels are.
        num_heads: Heads; handed on if the module takes an argument of this name.
        module: The class, or where to import it from: ``'timm.models.focalnet.FocalModulation'``.
        layout: What the module's forward takes and returns: ``'tokens'`` ``(B, N, C)``; ``'tokens_and_grid'``, the
            grid as second argument; ``'map'`` ``(B, C, H, W)``; ``'map_channels_last'`` ``(B, H, W, C)``.
        adds_input: Whether the module adds its input to what it returns, as OpenMMLab's attentions do; it is
            subtracted, because a block adds it.
        **options: Other arguments of the module.

    Shape:
        tokens ``(B, N, C)``, grid ``(H, W)`` with ``num_prefix + H * W == N``; returns ``(B, N, C)``.

    Cost:
        That of the module; pictures of different sizes in one batch are mixed one size after another.

    Raises:
        ValueError: If the module cannot be imported, or ``layout`` is not allowed.
        TypeError: If the module does not take what it is given.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        *,
        module: str | Callable[..., nn.Module],
        layout: Layout = "tokens",
        adds_input: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if layout not in get_args(Layout):
            raise ValueError(f"layout={layout!r} must be one of {', '.join(get_args(Layout))}")
        found = _imported(module) if isinstance(module, str) else module
        parameters = list(inspect.signature(found).parameters)
        channels = (dim,) if parameters and parameters[0] in CHANNELS else ()
        if "num_heads" in parameters:
            options = {"num_heads": num_heads, **options}
        try:
            self.module = found(*channels, **options)
        except TypeError as error:
            raise TypeError(f"module={module!r} takes {', '.join(parameters)}: {error}") from error
        self.layout, self.adds_input = layout, adds_input

    def forward(self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid. Without a grid they are tokens like the others; a module
                that has one does not see them, and 0 is returned for them.
            padding_mask: ``(B, N)``, True where a token is padding, which lies below and right of a picture.

        Returns:
            ``(B, N, C)``; 0 where it is padding.
        """
        if padding_mask is None:
            return self._mix(tokens, grid, num_prefix)
        sides = torch.stack(extents(padding_mask[:, num_prefix:].unflatten(1, grid)), dim=1)
        mixed = torch.zeros_like(tokens)
        places = torch.arange(grid[0] * grid[1], device=tokens.device).unflatten(0, grid)
        prefix = torch.arange(num_prefix, device=tokens.device)
        for height, width in sorted({(height, width) for height, width in sides.tolist() if height * width}):
            pictures = (sides == sides.new_tensor([height, width])).all(dim=1).nonzero()
            inside = torch.cat([prefix, num_prefix + places[:height, :width].flatten()])[None]
            found = self._mix(tokens[pictures, inside], (height, width), num_prefix)
            mixed = mixed.index_put((pictures, inside), found.to(mixed.dtype))
        return mixed

    def _mix(self, tokens: Tensor, grid: Grid, num_prefix: int) -> Tensor:
        if self.layout == "tokens":
            mixed = self.module(tokens)
            return mixed - tokens if self.adds_input else mixed
        on_grid = tokens[:, num_prefix:]
        if self.layout == "tokens_and_grid":
            mixed = self.module(on_grid, grid)
        elif self.layout == "map":
            mixed = map_to_tokens(self.module(tokens_to_map(on_grid, grid)))
        else:
            mixed = self.module(on_grid.unflatten(1, grid)).flatten(1, 2)
        if self.adds_input:
            mixed = mixed - on_grid
        return torch.cat([mixed.new_zeros(tokens[:, :num_prefix].shape), mixed], dim=1)


def _imported(path: str) -> Callable[..., nn.Module]:
    """Import a class by its dotted path."""
    package, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"module={path!r} cannot be imported: {error}; name it as in 'timm.models.focalnet.FocalModulation'"
        ) from error
