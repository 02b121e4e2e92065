"""The error of an operation that only mmcv's compiled extension has."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch

# What does the same work without the extension, by the start of the operation's name.
_INSTEAD = {
    "deform_roi_pool": "Without it, use RoIAlign.",
    "prroi_pool": "Without it, use RoIAlign.",
    "sync_bn": "Without it, use `norm_cfg=dict(type='SyncBN')`, which is torch's own.",
    "psamask": "Without it, use another decode head than PSANet's.",
}


class MissingOpError(NotImplementedError):
    """An operation of ``mmcv._ext`` was called where the extension is absent.

    Args:
        op: The operation, as its caller knows it.
        instead: What does the same work without the extension, in a sentence; empty if nothing does.
        why: Why the extension is absent, in a sentence; empty if unknown.
    """

    def __init__(self, op: str, instead: str = "", why: str = "") -> None:
        need = f"mmcv's `{op}` needs mmcv's compiled extension `mmcv._ext`, which is absent here."
        remedy = (
            f"To have it, build mmcv with a C++ compiler against this torch ({torch.__version__}): "
            "`pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps onedl-mmcv` "
            "(onedl-mmcv 2.3 compiles with torch < 2.14 only)."
        )
        super().__init__(" ".join(part for part in (need, why, instead, remedy) if part))
        self.op = op


def missing_op(op: str, why: str) -> Callable[..., NoReturn]:
    """Make a function that stands where operation ``op`` would be and raises :class:`MissingOpError` when called."""
    instead = next((text for start, text in _INSTEAD.items() if op.startswith(start)), "")

    def raise_missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise MissingOpError(op, instead, why)

    raise_missing.__name__ = raise_missing.__qualname__ = op
    return raise_missing
