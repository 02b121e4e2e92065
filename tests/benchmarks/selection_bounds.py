"""Choices that no network can make, which bound those of ``selection_quality.py``."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from selection_tasks import Network
from torch import Tensor

from effvit_mm.backbones import ToSADeiT
from effvit_mm.layers.kept_tokens import num_kept

Rank = Callable[[Any, Any, Tensor], Tensor]


def pairs_of(backbone: ToSADeiT) -> Iterator[tuple]:
    """Yield the selection and the two layers of each pair."""
    for (first, second), pair in zip(backbone.pairs, backbone.selections.values(), strict=True):
        yield pair, backbone.blocks[first], backbone.blocks[second]


def by_maps(network: Network, keep: float, bound: str) -> Callable[[Tensor], Tensor]:
    """Return a forward that chooses by the columns of the second layers' true maps, all rows, or by their reverse."""

    def rank(pair: Any, second: Any, tokens: Tensor) -> Tensor:
        columns = pair.true_map(second, tokens, torch.arange(tokens.shape[1])).sum(2).mean(1)
        return columns if bound == "true map" else columns.amax(-1, keepdim=True) - columns

    return lambda pictures: chosen_by(rank, network, keep, pictures)


def by_labels(network: Network, keep: float, truth: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a forward that chooses by how much a dense layer's change of each token lowers the loss, to first order.

    Args:
        network: In its joint stage.
        keep: Share of the tokens.
        truth: Of all pictures, in the order in which they will come.
    """
    coming = iter(truth)

    def forward(pictures: Tensor) -> Tensor:
        labels = torch.stack([next(coming) for _ in pictures])
        with torch.enable_grad():
            gains = iter(gains_of(network, pictures, labels))
        return chosen_by(lambda pair, second, tokens: next(gains), network, keep, pictures)

    return forward


def gains_of(network: Network, pictures: Tensor, labels: Tensor) -> list[Tensor]:
    """Return for each pair the fall of the loss ``(B, N)`` by what its second layer, on all tokens, does to each."""
    weights: list[Tensor] = []

    def outputs(tokens: Tensor, grid: tuple[int, int]) -> Iterator[Tensor]:
        for _, first, second in pairs_of(network.backbone):
            tokens = first(tokens, grid)
            yield tokens
            weights.append(torch.ones(tokens.shape[:2], requires_grad=True))
            tokens = tokens + (second(tokens, grid) - tokens) * weights[-1][..., None]
            yield tokens

    loss = network.loss(run(network, pictures, outputs), labels)
    return [-gradient for gradient in torch.autograd.grad(loss, weights)]


def chosen_by(rank: Rank, network: Network, keep: float, pictures: Tensor) -> Tensor:
    """Run a network whose tokens are chosen by any numbers ``(B, N)``."""

    def outputs(tokens: Tensor, grid: tuple[int, int]) -> Iterator[Tensor]:
        for pair, first, second in pairs_of(network.backbone):
            tokens = first(tokens, grid)
            yield tokens
            numbers = rank(pair, second, tokens)
            positive = numbers - numbers.amin(-1, keepdim=True) + 1e-9
            kept = pair.choose(positive[:, None, None].log(), keep, 1)
            tokens = pair.pass_by(second, tokens, kept, grid, 1, network.backbone.apply_block)
            yield tokens

    return run(network, pictures, outputs)


def run(network: Network, pictures: Tensor, outputs: Callable[..., Iterator[Tensor]]) -> Tensor:
    """Decode what layers of one's own give."""
    tokens, grid = network.backbone.embed(pictures)
    size = (pictures.shape[-2], pictures.shape[-1])
    return network.decode(network.backbone.emit(outputs(tokens, grid), grid, size)[0], pictures)


def largest(numbers: Tensor, keep: float) -> Tensor:
    """Return 1 at the share of ``(B, N)`` that is largest, else 0."""
    kept = numbers.topk(num_kept(keep, numbers.shape[-1]), dim=-1).indices
    return torch.zeros_like(numbers).scatter(-1, kept, 1.0)
