"""Backbones and classifiers by name, without a config."""

import inspect
from collections.abc import Iterable
from typing import Any, get_args

from torch import nn

from effvit_mm.backbones.classifier import Classifier
from effvit_mm.registry import BACKBONES, near_names


def list_backbones() -> list[str]:
    """Return the names that :func:`create_backbone` knows, sorted."""
    return sorted(_named_variants())


def create_backbone(name: str, **overrides: Any) -> nn.Module:
    """Build a backbone by the name of its variant.

    Args:
        name: One of :func:`list_backbones`, such as ``'anchorformer_s'``.
        **overrides: Constructor arguments of its class that differ from the variant's.

    Returns:
        A module with ``channels`` and ``strides`` whose forward maps pictures ``(B, 3, H, W)`` to a tuple of maps.

    Raises:
        ValueError: If the name is unknown (near names are suggested) or an argument has a value that is not allowed.
        TypeError: If the class does not know an argument.
    """
    cls, variant = _find(name)
    _check_arguments(name, cls, overrides)
    return cls(variant=variant, **overrides)


def create_classifier(name: str, num_classes: int = 1000, **overrides: Any) -> Classifier:
    """Build an image classifier over a backbone, as its paper does.

    Args:
        name: One of :func:`list_backbones`, such as ``'lit_s'``.
        num_classes: Classes; 0 for a network that returns its features ``(B, C)``.
        **overrides: Constructor arguments of the backbone's class that differ from the variant's.

    Returns:
        A module that maps pictures ``(B, 3, H, W)`` to logits ``(B, num_classes)``.

    Raises:
        ValueError: As :func:`create_backbone`, or if ``num_classes`` is negative.
        TypeError: As :func:`create_backbone`.
    """
    cls, variant = _find(name)
    _check_arguments(name, cls, overrides, also=("num_classes",))
    return Classifier(cls(variant=variant, **{**cls.classifier_options(variant), **overrides}), num_classes)


def _find(name: str) -> tuple[type[Any], str]:
    variants = _named_variants()
    if name not in variants:
        raise ValueError(f"unknown backbone {name!r}; {near_names(name, variants)}")
    return variants[name]


def _named_variants() -> dict[str, tuple[type[Any], str]]:
    return {f"{family}_{variant}": (cls, variant) for family, cls in BACKBONES.items() for variant in cls.variants}


def _check_arguments(name: str, cls: type[Any], arguments: Iterable[str], also: tuple[str, ...] = ()) -> None:
    known = _arguments(cls)
    for argument in arguments:
        if argument in known:
            continue
        hint = near_names(argument, {*known, *also})
        if argument == "mixers":
            hint = "its mixers are its own; create_backbone('pyramid_t', mixers=...) takes any"
        elif argument == "num_classes":
            hint = f"create_classifier({name!r}, num_classes=...) does"
        raise TypeError(f"{name} takes no argument {argument!r}; {hint}")


def _arguments(cls: type[Any]) -> set[str]:
    """Collect the keyword arguments of a class, those of its ``**options: Unpack[...]`` included."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    taken = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            (options,) = get_args(parameter.annotation)
            taken |= set(options.__annotations__)
    return taken - {"variant"}
