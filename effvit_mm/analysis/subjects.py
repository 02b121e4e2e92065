"""From a name on the command line to a module and what it is called with."""

import ast
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from effvit_mm.backbones import create_backbone
from effvit_mm.config_file import read_config, require_model
from effvit_mm.config_options import set_options
from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names

LIBRARIES = ("mmdet", "mmseg", "mmpretrain")
CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
FORMS = (
    "a backbone of ours such as anchorformer_s, timm:resnet50, mmdet:ResNet(depth=50) (or mmseg:, mmpretrain:), or the "
    "path of a config; options in brackets go to the constructor: anchorformer_s(num_anchors=15)"
)


@dataclass
class Subject:
    """A module and how to call it on pictures.

    Attributes:
        name: What the user wrote.
        module: The module.
        scope: What one call of it computes, in words.
        call: Keyword arguments of its forward beside the pictures.
    """

    name: str
    module: nn.Module
    scope: str
    call: dict[str, Any] = field(default_factory=dict)


def load_subject(
    name: str,
    shape: tuple[int, int],
    *,
    batch: int = 1,
    options: Mapping[str, Any] | None = None,
    as_backbone: bool = False,
) -> Subject:
    """Build what a name stands for, with random weights.

    Args:
        name: One of the forms in :data:`FORMS`.
        shape: Height and width of the pictures, in pixels; some networks are built for one size.
        batch: Pictures a call.
        options: Values by dotted key, for a config.
        as_backbone: Take a network of timm as a pyramid of maps, without its classifier.

    Returns:
        The module and how to call it.

    Raises:
        BadInputError: If the name is unknown, its library is missing, or its options do not fit.
    """
    if min(batch, *shape) < 1:
        raise BadInputError(f"batch={batch} and shape={tuple(shape)} must be at least 1")
    if name.endswith(CONFIG_SUFFIXES):
        return _from_config(name, shape, batch, options or {})
    match = re.fullmatch(r"(?:(\w+):)?([^(:]+)(?:\((.*)\))?", name.strip())
    if match is None:
        raise BadInputError(f"{name!r} names no model; give {FORMS}")
    library, model, written = match.groups()
    arguments = _arguments(name, written)
    try:
        if library is None:
            return Subject(name, create_backbone(model, **arguments), "backbone")
        if library == "timm":
            return _from_timm(name, model, shape, arguments, as_backbone)
        if library in LIBRARIES:
            return _from_openmmlab(name, library, model, arguments)
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        hint = f"; a model is {FORMS}" if library is None and "; known: " in str(error) else ""
        raise BadInputError(f"{name}: {error}{hint}") from error
    raise BadInputError(f"unknown library {library!r} in {name!r}; {near_names(library, ('timm', *LIBRARIES))}")


def require_config(names: Sequence[str], options: Mapping[str, Any] | None) -> None:
    """Refuse options of configs where no name is one.

    Raises:
        BadInputError: If there are options for none.
    """
    if options and not any(name.endswith(CONFIG_SUFFIXES) for name in names):
        raise BadInputError(
            f"--cfg-options {', '.join(options)}: these change a config, and {', '.join(names)} is none; options of a "
            f"backbone go in brackets behind its name: {names[0].partition('(')[0]}(option=value)"
        )


def pictures(
    shape: tuple[int, int], batch: int = 1, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw noise ``(batch, 3, H, W)``, the same at every call."""
    noise = torch.randn(batch, 3, *shape, generator=torch.Generator().manual_seed(0))
    return noise.to(device, dtype)


def _arguments(name: str, written: str | None) -> dict[str, Any]:
    if not written:
        return {}
    try:
        call = cast(ast.Call, ast.parse(f"dict({written})", mode="eval").body)
        if call.args:
            raise ValueError("options have names")
        return {cast(str, keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise BadInputError(f"the options of {name!r} are not of the form key=value, key=value") from error


def _from_timm(name: str, model: str, shape: tuple[int, int], arguments: dict[str, Any], as_backbone: bool) -> Subject:
    import timm

    if not timm.is_model(model):
        raise ValueError(f"timm has no {model!r}; {near_names(model, timm.list_models())}")
    scope = "network with its classifier"
    if as_backbone:
        arguments, scope = {"features_only": True, **arguments}, "backbone"
    try:
        # Networks with tables of positions or windows are built for one size.
        module = timm.create_model(model, pretrained=False, img_size=shape, **arguments)
    except TypeError:
        module = timm.create_model(model, pretrained=False, **arguments)
    return Subject(name, module, scope)


def _from_openmmlab(name: str, library: str, model: str, arguments: dict[str, Any]) -> Subject:
    try:
        importlib.import_module(f"{library}.models")
        registry = importlib.import_module(f"{library}.registry").MODELS
    except ImportError as error:
        raise BadInputError(f"{name} needs {library}, and importing it failed: {error}") from error
    if model not in registry.module_dict:
        raise ValueError(f"{library} has no {model!r}; {near_names(model, registry.module_dict)}")
    # Whatever scope the process is in: the library's own names come first.
    return Subject(name, registry.build({"type": model, "_scope_": library, **arguments}), "backbone")


def _from_config(name: str, shape: tuple[int, int], batch: int, options: Mapping[str, Any]) -> Subject:
    from mmengine.registry import MODELS, init_default_scope

    cfg = read_config(Path(name))
    set_options(cfg, options)
    require_model(cfg)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    try:
        module = MODELS.build(cfg.model)
    except Exception as error:  # a constructor can fail in any way
        raise BadInputError(f"the model of {name} cannot be built: {type(error).__name__}: {error}") from error
    return Subject(name, module, *_how_to_call(module, shape, batch))


def _how_to_call(module: nn.Module, shape: tuple[int, int], batch: int) -> tuple[str, dict[str, Any]]:
    """Say what a whole model computes without post-processing, and with which keyword arguments."""
    if "mode" not in inspect.signature(module.forward).parameters:
        return "model", {}
    from mmengine.structures import BaseDataElement

    about = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))
    samples = [BaseDataElement(metainfo=about) for _ in range(batch)]
    return "whole model in tensor mode, without post-processing", {"data_samples": samples, "mode": "tensor"}
