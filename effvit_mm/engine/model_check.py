"""Does the model of a config fit together? Asked before anything large is built."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from effvit_mm.errors import BadInputError
from effvit_mm.registry import BACKBONES, near_names


def check_model(cfg: Config) -> None:
    """Check that the backbone exists, can be built, and feeds its neck or heads the channels they expect.

    Backbones that are not ours are left to their own library, except for a name that is not registered at all.

    Args:
        cfg: The config of a run.

    Raises:
        BadInputError: If the name is unknown (near names are suggested), an argument is not allowed, or channels
            differ.
    """
    spec = dict(cfg.model.get("backbone") or {})
    name = spec.pop("type", None)
    ours = {cls.__name__: cls for cls in BACKBONES.values()}
    with MODELS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        known = ours.keys() | registry.module_dict.keys()
        if isinstance(name, str) and name not in ours and registry.get(name) is None:
            raise BadInputError(f"model.backbone.type={name!r} is not a registered backbone; {near_names(name, known)}")
    if name in ours:
        channels = _channels_of(ours[name], spec)
        _check_consumers(cfg.model, name, channels)


def _channels_of(cls: type[nn.Module], spec: dict[str, Any]) -> tuple[int, ...]:
    try:
        with torch.device("meta"):
            return tuple(cls(**spec).channels)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"model.backbone: {error}") from error


def _check_consumers(model: Any, name: str, channels: tuple[int, ...]) -> None:
    """Compare with the neck, or without one with every head that names ``in_channels`` for the maps it takes."""
    neck = model.get("neck")
    if neck is not None:
        _compare("neck", neck, list(range(len(channels))), name, channels)
        return
    heads = [head for key in ("decode_head", "auxiliary_head") for head in _as_list(model.get(key))]
    for head in heads:
        indices = _as_list(head.get("in_index", -1))
        _compare("head", head, [i % len(channels) for i in indices], name, channels)


def _compare(part: str, spec: Any, indices: list[int], name: str, channels: tuple[int, ...]) -> None:
    expected = spec.get("in_channels")
    given = [channels[i] for i in indices]
    if expected is not None and list(_as_list(expected)) != given:
        raise BadInputError(
            f"the {part} {spec.get('type')} expects in_channels={expected}, but the backbone {name} gives {given}; "
            f"set in_channels={given if len(given) > 1 else given[0]}"
        )


def _as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
