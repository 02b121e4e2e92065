"""Does every parameter learn? Asked in float64, where what is left of a gradient of zero is told from a small one."""

from torch import nn

ROUNDING = 1e-13
"""Largest entry of a gradient, over the largest of the module, that may be rounding.

What an exact zero leaves in float64 lies below 1e-15 here, the smallest gradient of a parameter that learns at 1e-10.
"""


def assert_gradients_above_rounding(module: nn.Module) -> None:
    """Check the gradients of a module in float64.

    Raises:
        AssertionError: If a parameter has no gradient, one that is not finite, or one that is rounding alone: nothing
            depends on it, as on a bias in front of a softmax or a norm.
    """
    gradients = {}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        gradients[name] = float(parameter.grad.abs().max())
    for name, largest in gradients.items():
        ratio = largest / max(gradients.values())
        assert ratio > ROUNDING, f"the gradient of {name} is zero but for rounding: {ratio:.0e} of the largest"
