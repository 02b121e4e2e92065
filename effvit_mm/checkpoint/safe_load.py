"""Loading a checkpoint never runs code from it.

A ``.pth`` file is a pickle, and a pickle can call any function. torch's ``weights_only`` loader calls only functions on
a list; the list here holds what MMEngine's own checkpoints need (the log's history, numpy's arrays) and nothing else.
"""

import _codecs
import functools
import importlib
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from effvit_mm.errors import BadInputError

_HISTORY_METHODS = ("min", "max", "current", "mean")


class UnsafeCheckpointError(BadInputError):
    """A file that is no checkpoint, or that could only be read by running code it brings along."""


def _history_method(owner: Any, name: str) -> Any:
    """Stand for ``getattr`` in a pickle: MMEngine's history names its own four methods so, and that is all it may."""
    if owner is HistoryBuffer and name in _HISTORY_METHODS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr of {owner!r}.{name}")


def _known_as(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that a pickle calls by ``name``, in every version of torch that has a list of safe names."""

    @functools.wraps(function)
    def named(*args: Any) -> Any:
        return function(*args)

    named.__module__, named.__qualname__ = name.rsplit(".", 1)
    named.__name__ = named.__qualname__
    return named


def _safe_globals() -> list[Any]:
    # numpy 1 calls numpy 2's _core plainly core; a file of either is read under either.
    core: Any = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")
    makers = [core.multiarray._reconstruct, core.multiarray.scalar]
    names = [f"numpy.{package}.multiarray.{maker.__name__}" for package in ("core", "_core") for maker in makers]
    return [
        HistoryBuffer,
        _known_as(_history_method, "builtins.getattr"),
        *(_known_as(maker, name) for name, maker in zip(names, makers * 2, strict=True)),
        np.ndarray,
        np.dtype,
        _codecs.encode,  # bytes of numpy's scalars; newer versions of torch have it on their own list
        *{type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "uint32", "float32", "float64")},
    ]


def load_safely(file: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running anything it brings along.

    Args:
        file: A ``.pth`` file that torch wrote, or a ``.safetensors`` file.
        map_location: As for ``torch.load``.

    Returns:
        What the file holds by name.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If the file asks for anything but tensors and plain values, is cut off, or is no
            checkpoint.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint {file} does not exist")
    if file.suffix == ".safetensors":
        return _load_safetensors(file, map_location)
    try:
        torch.serialization.add_safe_globals(_safe_globals())
        checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(_explain(file, str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnsafeCheckpointError(
            f"{file} is not a whole checkpoint ({_first_line(error)}); it may have been cut off: copy or download it "
            f"again"
        ) from error
    if not isinstance(checkpoint, dict):
        kind = type(checkpoint).__name__
        raise UnsafeCheckpointError(f"{file} is no checkpoint: it holds a {kind}, not weights by name")
    return checkpoint


def make_loading_safe() -> None:
    """Make every load in this process safe: MMEngine's of local files, and torch's wherever a library calls it."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: Any) -> dict[str, Any]:
    """Load a local file for MMEngine, which calls its loaders with these two arguments."""
    return load_safely(filename, map_location)


def _load_safetensors(file: Path, map_location: Any) -> dict[str, Any]:
    # safetensors comes with timm; importing it waits until a file needs it.
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file, device=str(map_location or "cpu"))
    except SafetensorError as error:
        raise UnsafeCheckpointError(
            f"{file} is not a whole safetensors file ({_first_line(error)}): copy or download it again"
        ) from error


def _explain(file: Path, message: str) -> str:
    found = re.findall(r"GLOBAL ([\w.]+)|instance of class (\S+)", message)
    asked = sorted({name for pair in found for name in pair if name})
    if not asked:
        # torch's own words here advise to load the file with everything it brings along.
        with file.open("rb") as content:
            begins = content.read(12)
        page = begins.lstrip().lower().startswith((b"<html", b"<!doctype"))
        what = "it is a web page" if page else f"it begins with {begins!r}"
        return f"{file} is no checkpoint that torch wrote ({what}): copy or download it again"
    return (
        f"{file} is refused: to be read it asks to run {', '.join(asked)}, and a checkpoint needs no code. Ask who "
        f"wrote it for its weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), or "
        f"torch.save(model.state_dict(), 'weights.pth')"
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
