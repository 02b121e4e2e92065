"""What a released file holds: weights by name under one wrapper or none, and anything else that was stored with them.

Nothing here trusts the file: a name may be any object or text, a value of any kind, a dict may have methods replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effvit_mm.errors import BadInputError

_WRAPPERS = ("state_dict", "model")
_PARALLEL = "module."


@dataclass
class ReleasedWeights:
    """Weights as they are in a file, without what wraps them.

    Attributes:
        tensors: The weights by name.
        others: By name, what is there that is no tensor.
        odd: By name, what is wrong with a tensor that can be no weight, or with its name.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


def unwrap(content: Mapping[str, Any]) -> ReleasedWeights:
    """Take the weights out of what a file holds.

    Args:
        content: Weights by name, bare, or under ``state_dict`` or ``model``; names may begin with ``module.``.

    Returns:
        The weights, and what else has a name among them.

    Raises:
        BadInputError: If there is no tensor.
    """
    content = _as_dict(content)
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = _as_dict(content[wrapper])
    released = ReleasedWeights()
    for key, value in content.items():
        name = key.removeprefix(_PARALLEL) if isinstance(key, str) else shown(key)
        if not isinstance(value, Tensor):
            released.others[name] = f"is a {type(value).__name__}, not a tensor"
        elif not isinstance(key, str):
            released.odd[name] = f"is a name of type {type(key).__name__}, not text"
        elif not _is_plain(value):
            released.odd[name] = f"is a tensor {_kind(value)}, not a plain one"
        elif name in released.tensors:
            released.odd[key] = f"is {name}, which is there already"
        else:
            released.tensors[name] = value
    if not released.tensors:
        held = f"only {', '.join(shown(key) for key in list(content)[:6])}" if content else "it is empty"
        raise BadInputError(f"it holds no weights by name ({held}); give a file of released weights")
    return released


def problem_of(value: Tensor, expected: Tensor, name: str) -> str:
    """Say why a value cannot be the weight ``name`` of a network; an empty string where it can.

    Args:
        value: A plain tensor; floating-point numbers may be of any precision. Of one on the meta device, kind and shape
            are judged.
        expected: The network's weight, on the meta device.
        name: Its name.
    """
    if value.shape != expected.shape:
        return f"has shape {shown_shape(value)}, and {name} has {shown_shape(expected)}"
    if value.is_complex() or (expected.is_floating_point() and not value.is_floating_point()):
        return f"is of {value.dtype}, and {name} of {expected.dtype}"
    if value.is_meta:
        return ""
    numbers = value.to(expected.dtype if expected.is_floating_point() else torch.float64)
    if not bool(numbers.isfinite().all()):
        return f"holds values that are not finite in {numbers.dtype} (nan or inf)"
    if not expected.is_floating_point() and bool(numbers.frac().any()):
        return f"holds fractions, and {name} counts"
    return ""


def shown(name: object) -> str:
    """Return a name as it can be printed, on one line and not too long: in a file it may be any text or object."""
    text = name if isinstance(name, str) and name and name.isprintable() else ascii(name)
    return text if len(text) <= 120 else f"{text[:117]}..."


def shown_shape(tensor: Tensor) -> str:
    """Return the shape of a tensor as it can be printed: ``3x224x224``, or ``()``."""
    return "x".join(map(str, tensor.shape)) or "()"


def _as_dict(content: Mapping[str, Any]) -> dict[Any, Any]:
    # What is unpickled into the attributes of a dict's subclass may stand before the methods of those names.
    return dict(dict.items(content) if isinstance(content, dict) else content)


def _is_plain(value: Tensor) -> bool:
    """Tell whether the numbers of a tensor are there, one by one."""
    return value.layout == torch.strided and not value.is_quantized


def _kind(value: Tensor) -> str:
    return f"quantized to {value.dtype}" if value.is_quantized else f"of layout {value.layout}"
