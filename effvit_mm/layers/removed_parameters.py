"""Loads files that still hold parameters which a layer no longer has."""

from typing import Any, ClassVar

from torch import nn


class WithoutRemovedParameters(nn.Module):
    """A module that passes over parameters it once had: biases that nothing could learn and no result depended on.

    Attributes:
        removed_parameters: Their names inside the module, such as ``'fc2.bias'``.
    """

    removed_parameters: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Called before the children are loaded, on a copy of what the user gave.
        for name in self.removed_parameters:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


def removed_parameters(network: nn.Module) -> set[str]:
    """Return the names in a network of parameters that its layers once had, and pass over in a file."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, WithoutRemovedParameters)
        for name in module.removed_parameters
    }
