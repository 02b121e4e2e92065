"""What a checkpoint says of the run that wrote it; MMEngine's runner notes the config, which is read and not run."""

import ast
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from effvit_mm.checkpoint.fit import load_whole
from effvit_mm.checkpoint.safe_load import load_safely
from effvit_mm.errors import BadInputError


def backbone_noted(file: str | Path) -> str:
    """Return the type of the backbone that a checkpoint's run had; an empty string where it does not say.

    Args:
        file: The checkpoint, or what could not be read as one.
    """
    try:
        sections = _sections(load_safely(file))
    except (OSError, BadInputError):
        return ""
    kind = _value(_value(sections.get("model"), "backbone"), "type")
    return str(kind.value) if isinstance(kind, ast.Constant) else ""


def load_trained(model: nn.Module, weights: OrderedDict[str, Tensor], file: str | Path, cfg: Mapping[str, Any]) -> None:
    """Load the weights of a run into the model of a config, as :func:`~effvit_mm.checkpoint.fit.load_whole`.

    Args:
        model: The model.
        weights: The weights.
        file: The checkpoint they were read from.
        cfg: The config of the model.

    Raises:
        BadInputError: If names or shapes differ; said in a line where the run alone was on toy scenes.
    """
    try:
        load_whole(model, weights, file)
    except BadInputError as error:
        if "toy_scenes" not in cfg and "toy_scenes" in _sections(load_safely(file)):
            raise BadInputError(
                f"checkpoint {file} is of a run with --toy, whose model is smaller than the config's: add --toy, or "
                f"give the config that lies beside the checkpoint"
            ) from error
        raise


def _sections(content: Mapping[str, Any]) -> dict[str, ast.expr]:
    """Return the sections of the config, which MMEngine's runner writes as Python text."""
    meta = content.get("meta")
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        lines = ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError):
        return {}
    return {
        target.id: line.value
        for line in lines
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }


def _value(node: ast.expr | None, key: str) -> ast.expr | None:
    """Return what ``dict(key=...)`` holds."""
    arguments = node.keywords if isinstance(node, ast.Call) else []
    return next((argument.value for argument in arguments if argument.arg == key), None)
