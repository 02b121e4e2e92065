"""How a network from scratch draws its weights: one rule for every backbone."""

import math

from torch import nn

STEM_BIAS = 0.5
"""Spread of a stem's initial biases, over that of what its layers give for inputs of unit spread."""


def initialize_weights(network: nn.Module) -> None:
    """Draw every weight of a network, buffers of norms included; bare parameters of layers that cannot draw stay.

    Projections are drawn here, whatever layer they sit in: Linear from a normal of std 0.02 cut at two units,
    convolutions from a normal of std ``sqrt(2 / fan_out)``, biases 0, norms 1 and 0. Then each layer has the last word:
    what it sets in ``reset_parameters()`` (anchors, bias tables, a norm that starts small, ...) stays.

    Reference:
        Wang et al., "PVT v2", 2022 (the released code's rule).
    """
    drawn = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
    layers = [module for module in network.modules() if not isinstance(module, drawn)]
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, drawn) and not isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()
    for layer in layers:
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()


def draw_stem_biases(stem: nn.Module) -> None:
    """Draw the biases of a stem, so that zero padding becomes tokens of about the size of an image's tokens.

    A batch of images of mixed sizes, and any image whose sides 32 does not divide, is padded with zeros. With biases of
    0 these would become tokens of 0, and each LayerNorm that a token of 0 meets multiplies its gradient by
    ``1 / sqrt(eps)``, each normalisation to unit length by ``1 / eps``: up to 1e17 in the first step.

    Each bias is drawn from a normal of :data:`STEM_BIAS` times the spread that its layer gives to inputs of unit
    spread: ``0.5 std(weight) sqrt(fan_in)`` of a projection, 0.5 of a BatchNorm. LayerNorms keep theirs.

    Args:
        stem: What turns images into tokens, its weights drawn.
    """
    for module in stem.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            # Networks are built on the meta device, too, where a spread is no number.
            spread = module.weight.detach().square().mean().sqrt() * math.sqrt(module.weight[0].numel())
            nn.init.normal_(module.bias, std=STEM_BIAS).data.mul_(spread)
        elif isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            nn.init.normal_(module.bias, std=STEM_BIAS)
