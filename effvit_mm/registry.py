"""The only file that names registries.

Backbones register in MMEngine's root registry, so ``dict(type='AnchorFormer')`` builds under mmdet's, mmseg's and
mmpretrain's scope alike; mechanisms register in registries of our own.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmengine.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISUALIZERS,
    Registry,
)
from torch import nn

__all__ = [
    "BACKBONES",
    "DATASETS",
    "HOOKS",
    "METRICS",
    "MLPS",
    "MODELS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "TOKEN_MERGERS",
    "TOKEN_MIXERS",
    "TOKEN_REDUCERS",
    "TRANSFORMS",
    "VISUALIZERS",
    "build_mechanism",
    "near_names",
    "near_path",
]

TOKEN_MIXERS = Registry("token mixer")
TOKEN_MERGERS = Registry("token merger")
TOKEN_REDUCERS = Registry("token reducer")
MLPS = Registry("mlp")

BACKBONES: dict[str, type[Any]] = {}
"""Backbone classes, each with a table ``variants``, by the first half of their names: ``anchorformer``, not ``_s``."""

BackboneClass = TypeVar("BackboneClass", bound=type[nn.Module])


def register_backbone(family: str) -> Callable[[BackboneClass], BackboneClass]:
    """Register a class for configs (by its own name) and for :func:`effvit_mm.create_backbone` (by ``family``)."""

    def register(cls: BackboneClass) -> BackboneClass:
        MODELS.register_module(module=cls)
        BACKBONES[family] = cls
        return cls

    return register


def build_mechanism(registry: Registry, spec: str | Mapping[str, Any], *args: Any, **defaults: Any) -> nn.Module:
    """Build a mechanism of ours from its name, or from a dict of ``type`` and options that win over ``defaults``.

    Args:
        registry: One of the registries of this file.
        spec: ``'anchor'`` or ``dict(type='anchor', num_anchors=15)``.
        *args: Positional arguments of the mechanism.
        **defaults: Keyword arguments it gets unless ``spec`` says otherwise.

    Returns:
        The module.

    Raises:
        ValueError: If the name is not registered, or has no such option (near names are suggested), or a value is
            refused.
    """
    options = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" not in options:
        raise ValueError(f"a {registry.name} is a name or a dict with the key 'type', got {spec!r}")
    name = options.pop("type")
    if name not in registry:
        raise ValueError(f"unknown {registry.name} {name!r}; {near_names(name, registry.module_dict)}")
    kind = registry.module_dict[name]
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    free = list(parameters)[len(args) :]
    for option in () if takes_any else options:
        if option not in free:
            raise ValueError(f"{registry.name} {name!r} takes no option {option!r}; {near_names(option, free)}")
    try:
        return kind(*args, **{**defaults, **options})
    except TypeError as error:
        values = ", ".join(f"{key}={value!r}" for key, value in {**defaults, **options}.items()) or "no options"
        raise ValueError(
            f"{registry.name} {name!r} cannot be built from {values} ({error}); correct the value of wrong type, or "
            f"give the one that is missing"
        ) from error


def near_names(name: object, known: Iterable[str]) -> str:
    """Say which of the ``known`` names the user may have meant, for the end of an error message."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"


def near_path(path: Path) -> str:
    """Say which names beside the first part of a path that is not there the user may have meant; empty if none."""
    while not path.exists() and not path.parent.is_dir():
        path = path.parent
    beside = os.listdir(path.parent) if not path.exists() and os.access(path.parent, os.R_OK) else []
    near = near_names(path.name, beside)
    return f"in {path.parent}/ {near}" if near.startswith("did you mean") else ""
