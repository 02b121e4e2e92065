"""Backbones by name, without a config."""

from typing import Any

from torch import nn

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
    variants = _named_variants()
    if name not in variants:
        raise ValueError(f"unknown backbone {name!r}; {near_names(name, variants)}")
    cls, variant = variants[name]
    return cls(variant=variant, **overrides)


def _named_variants() -> dict[str, tuple[type[Any], str]]:
    return {f"{family}_{variant}": (cls, variant) for family, cls in BACKBONES.items() for variant in cls.variants}
