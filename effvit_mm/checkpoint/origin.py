"""What a checkpoint says of the run that wrote it; MMEngine's runner notes the config, which is read and not run."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def was_toy(content: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint says that its run was on toy scenes.

    Args:
        content: What the checkpoint holds by name.
    """
    return "toy_scenes" in _sections(content)


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
