"""The second interface of tokens: fewer of them for some layers, and the way back to all.

A mixer maps N tokens to N tokens. A reducer maps N to fewer, and gives what dense prediction needs on top: a function
that puts results back where every place of the picture has a token.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from effvit_mm.layers.grid import Grid
from effvit_mm.layers.kept_tokens import flat_places, gather_tokens, num_kept, scatter_tokens


class Reduced(NamedTuple):
    """Fewer tokens, and how all of them come back.

    Attributes:
        tokens: ``(B, K, C)``, prefix tokens first and all of them.
        grid: Grid of the tokens behind the prefix, None where they lie on none.
        restore: From ``(B, K, C)``, behind any number of layers, to all tokens ``(B, N, C)`` in raster order.
        padding_mask: ``(B, K)``, True where a token is padding; None if none is.
        policy: ``(B, K)``, 1 where a token takes part and 0 where it does not, with a gradient; given in training, in
            place of leaving tokens out, by a reducer that learns from its decisions. None where all take part.
    """

    tokens: Tensor
    grid: Grid | None
    restore: Callable[[Tensor], Tensor]
    padding_mask: Tensor | None = None
    policy: Tensor | None = None


class TokenReducer(nn.Module, ABC):
    """What every reducer promises.

    Prefix tokens are kept, in front. Each picture is reduced by itself. Under a padding mask, the other tokens get what
    they would get from the picture alone.

    Attributes:
        depths: Where in a columnar network its authors put it, as shares of the depth.
        reads_attention: Whether its forward takes ``scores``, the attention scores of the layer it stands in.
        decides: Whether it gives a policy in training, and takes that of the one before it.
    """

    depths: ClassVar[tuple[float, ...]]
    reads_attention: ClassVar[bool] = False
    decides: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self, tokens: Tensor, grid: Grid, *, num_prefix: int = 0, padding_mask: Tensor | None = None
    ) -> Reduced:
        """Reduce tokens ``(B, num_prefix + H * W, C)``.

        Args:
            tokens: ``(B, N, C)``.
            grid: ``(H, W)`` of the tokens that lie on a grid.
            num_prefix: Tokens in front that lie on no grid.
            padding_mask: ``(B, N)``, True where a token is padding.
        """

    def without_restore(self) -> None:
        """Drop what only restoring needs; a classifier, which reads prefix tokens, restores nothing."""


class TokenSubset(TokenReducer):
    """A reducer that keeps a share of the tokens of each picture.

    Attributes:
        keep: The share, above 0 and at most 1; it can be set at any time.
    """

    @property
    def keep(self) -> float:
        """The share of the tokens that go on."""
        return self._keep[0]

    @keep.setter
    def keep(self, value: float) -> None:
        check_keep(value)
        # In a tuple: torch.compile takes a number that a module holds itself for one that it does not know.
        self._keep = (value,)


def check_keep(keep: float) -> None:
    """Refuse a share of tokens that keeps none or more than all.

    Raises:
        ValueError: If ``keep`` is not above 0 and at most 1.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep} must be above 0 and at most 1; 1 keeps every token")


def most_important(importance: Tensor, keep: float, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Choose the share ``keep`` of the tokens of each picture.

    Args:
        importance: ``(B, N)``.
        keep: Share of the tokens, padding not counted.
        padding: ``(B, N)``, True where a token is padding, or None.

    Returns:
        Rising places ``(B, K)`` among the N; and ``(B, K)``, True where a picture with fewer real tokens than another
        has nothing to put, or None.
    """
    if padding is None:
        return importance.topk(num_kept(keep, importance.shape[1]), sorted=False).indices.sort().values, None
    counts = torch.tensor([num_kept(keep, max(real, 1)) for real in (~padding).sum(dim=1).tolist()])
    most = int(counts.max())
    order = importance.masked_fill(padding, -torch.inf).topk(most).indices.sort()
    spare = (torch.arange(most) >= counts[:, None]).to(padding.device)
    return order.values, spare.gather(1, order.indices)


def gather_with_restore(
    tokens: Tensor, places: Tensor, spare: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Take the tokens at some places out, and say how they return to them.

    Args:
        tokens: ``(B, N, C)``.
        places: ``(B, K)``.
        spare: ``(B, K)``, True where the token at a place is to stay as it is, or None.

    Returns:
        ``(B, K, C)``; and a function from those behind any number of layers to ``(B, N, C)``, where all other tokens
        are as they were.
    """
    flat = flat_places(places, tokens.shape[1])
    gathered = gather_tokens(tokens, flat)

    def restore(kept: Tensor) -> Tensor:
        if spare is not None:
            kept = torch.where(spare[..., None], gathered.to(kept.dtype), kept)
        return scatter_tokens(tokens, flat, kept)

    return gathered, restore
