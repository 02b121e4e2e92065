"""Are the anchors of a network apart? Measured where they work, by hooks on its layers.

Where the anchors of a layer coincide, it averages all tokens, and its anchors get no gradient (Shan et al., arXiv
2505.16463, start near there). :mod:`effvit_mm.layers.anchor_statistics` has the numbers that tell.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from effvit_mm.errors import BadInputError
from effvit_mm.layers import AnchorAttention, Grid
from effvit_mm.layers.anchor_statistics import effective_anchors, gather_weights, map_similarity, row_entropy

_FORWARD = inspect.signature(AnchorAttention.forward)


@dataclass(frozen=True)
class AnchorHealth:
    """How the anchors of a layer stand, averaged over pictures and heads.

    Attributes:
        entropy: Of a token's assignment over ``log M``: 1 if it spreads evenly over the anchors, 0 if it has one.
        similarity: Mean cosine between what two anchors gather: 1 where all coincide.
        effective: How many anchors count: 1 where all coincide, M where each has tokens of its own; see
            :func:`~effvit_mm.layers.anchor_statistics.effective_anchors`.
    """

    entropy: float
    similarity: float
    effective: float


@dataclass(frozen=True)
class Assignment:
    """One call of a layer.

    Attributes:
        probabilities: The step token -> anchor ``(B, N, h, M)``, at least fp32; 0 for padding.
        grid: ``(H, W)`` of the last ``H * W`` tokens.
        num_prefix: Tokens in front of them.
        gather: The step anchor -> token ``(B, N, h, M)`` where it has anchors of its own (``mode='apart'``), or None.
    """

    probabilities: Tensor
    grid: Grid
    num_prefix: int
    gather: Tensor | None = None

    def health(self) -> AnchorHealth:
        """Return the three numbers of this call."""
        numbers = (
            row_entropy(self.probabilities),
            map_similarity(self.probabilities if self.gather is None else self.gather),
            effective_anchors(self.probabilities, self.gather),
        )
        return AnchorHealth(*(number.mean().item() for number in numbers))


@dataclass(frozen=True)
class AnchorMaps:
    """Which tokens of one picture the anchors of a layer gather.

    Attributes:
        weights: ``(h, M, H, W)``: weight of a token in what an anchor gathers, over that of an average of all tokens; 1
            everywhere is mean pooling.
        shares: ``(h, M)``: share of all assignments that an anchor has; those of a head sum to 1.
        health: The layer's numbers.
    """

    weights: Tensor
    shares: Tensor
    health: AnchorHealth


def anchor_layers(model: nn.Module) -> dict[str, AnchorAttention]:
    """Return the anchor layers of a model by name, without the wrapper of several processes around it.

    Raises:
        BadInputError: If it has none.
    """
    model = cast(nn.Module, model.module) if is_model_wrapper(model) else model
    layers = {name: module for name, module in model.named_modules() if isinstance(module, AnchorAttention)}
    if not layers:
        raise BadInputError(
            f"{type(model).__name__} has no anchor attention; give a network of it, such as anchorformer_s or "
            f"anchor_deit_s"
        )
    return layers


def watch_anchors(
    layers: Mapping[str, AnchorAttention], see: Callable[[str, Assignment], None]
) -> list[RemovableHandle]:
    """Call a function with each layer's assignment at each of its forwards, until the handles are removed.

    What the layers compute, its gradients and its random numbers are left alone.

    Args:
        layers: As :func:`anchor_layers` returns them.
        see: Takes the layer's name and the assignment.

    Cost:
        A forward that is seen projects its keys and assigns them once more: ``2 N C^2 + N M C`` multiply-adds, memory
        ``O(N (C + h M))``.
    """

    def hook_of(name: str) -> Callable[..., None]:
        def hook(layer: AnchorAttention, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            with torch.no_grad():
                see(name, _assignment(layer, args, kwargs))

        return hook

    return [layer.register_forward_hook(hook_of(name), with_kwargs=True) for name, layer in layers.items()]


def measure_anchors(model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, AnchorHealth]:
    """Run a model once and measure each anchor layer.

    Args:
        model: Any model with anchor layers; it runs as it stands, in training or evaluation.
        *args: What it is called with, such as pictures ``(B, 3, H, W)``.
        **kwargs: The same.

    Returns:
        The numbers by the name of the layer, in the order of the model.

    Raises:
        BadInputError: If the model has no anchor layer.
    """
    found: dict[str, AnchorHealth] = {}
    with _watched(anchor_layers(model), lambda name, seen: found.update({name: seen.health()})):
        model(*args, **kwargs)
    return found


def anchor_maps(model: nn.Module, picture: Tensor) -> dict[str, AnchorMaps]:
    """Return which tokens of a picture the anchors of each layer gather.

    Args:
        model: A backbone or classifier with anchor layers.
        picture: ``(1, 3, H, W)``, normalised.

    Returns:
        The maps by the name of the layer.

    Raises:
        BadInputError: If the model has no anchor layer.
    """
    found: dict[str, AnchorMaps] = {}
    with _watched(anchor_layers(model), lambda name, seen: found.update({name: _maps(seen)})):
        model(picture)
    return found


def _assignment(layer: AnchorAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Assignment:
    call = _FORWARD.bind(layer, *args, **kwargs).arguments
    keys = layer.key_value(call["tokens"]).chunk(2, dim=-1)[0]
    padding = call.get("padding_mask")
    hidden = None if padding is None else padding[:, :, None, None]
    probabilities = layer.assign(keys)
    if hidden is not None:
        probabilities = probabilities.masked_fill(hidden, 0.0)
    gather = None
    if layer.gather_anchors is not None:
        logits = layer.logits(keys, layer.gather_anchors)
        gather = (logits if hidden is None else logits.masked_fill(hidden, -torch.inf)).softmax(dim=1)
    return Assignment(probabilities, call["grid"], call.get("num_prefix", 0), gather)


def _maps(seen: Assignment) -> AnchorMaps:
    probabilities = seen.probabilities[:1]
    gather = gather_weights(probabilities) if seen.gather is None else seen.gather[:1]
    weights = gather * probabilities.shape[1]  # (1, N, h, M)
    weights = weights[0, seen.num_prefix :].permute(1, 2, 0).unflatten(-1, seen.grid)  # (h, M, H, W)
    return AnchorMaps(weights, probabilities[0].mean(dim=0), seen.health())


@contextmanager
def _watched(layers: Mapping[str, AnchorAttention], see: Callable[[str, Assignment], None]) -> Iterator[None]:
    handles = watch_anchors(layers, see)
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
