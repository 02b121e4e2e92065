"""Does the model of a config fit together, and to its data? Asked before anything large is built."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from effvit_mm.checkpoint import read_weights
from effvit_mm.checkpoint.intake import fit_backbone, read_pretrained
from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.explain import arguments_of, explained
from effvit_mm.errors import BadInputError
from effvit_mm.registry import BACKBONES, near_names

_KEEPS_CHANNELS = ("ContextBridge", "QueryBridge")


def check_model(cfg: Config) -> None:
    """Check that the backbone exists, can be built, and feeds its neck or heads the channels they expect.

    Backbones that are not ours are left to their own library, except for a name that is not registered at all.

    Args:
        cfg: The config of a run.

    Raises:
        BadInputError: If the name is unknown (near names are suggested), an argument is not allowed, or channels
            differ.
    """
    _check_pretrained("model", cfg.model)
    if "backbone" not in cfg.model:
        return
    if not isinstance(cfg.model.backbone, dict) or not cfg.model.backbone.get("type"):
        raise BadInputError(f"model.backbone is {cfg.model.backbone!r}, expected dict(type='AnchorFormer', ...)")
    spec = dict(cfg.model.backbone)
    name = spec.pop("type")
    ours = {cls.__name__: cls for cls in BACKBONES.values()}
    with MODELS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        known = ours.keys() | registry.module_dict.keys()
        if isinstance(name, str) and name not in ours and registry.get(name) is None:
            raise BadInputError(f"model.backbone.type={name!r} is not a registered backbone; {near_names(name, known)}")
        kind = cfg.model.get("type")
        _check_preprocessor(cfg, registry.get(kind) if isinstance(kind, str) else None)
    if name in ours:
        backbone = _built(ours[name], spec)
        _check_class_token(cfg.model, name, backbone)
        _check_consumers(cfg.model, name, tuple(backbone.channels))
        _check_first_stride(cfg.model, name, tuple(backbone.strides))


def _check_preprocessor(cfg: Config, model: Any) -> None:
    """Check that pictures are put together into a batch: mmdet's and mmseg's models do so only if they are told how."""
    libraries = {cls.__module__.partition(".")[0] for cls in getattr(model, "__mro__", ())}
    spec = cfg.model.get("data_preprocessor", cfg.get("data_preprocessor"))
    kind = spec.get("type") if isinstance(spec, dict) else spec
    if libraries & {"mmdet", "mmseg"} and kind in (None, "BaseDataPreprocessor", "mmengine.BaseDataPreprocessor"):
        stock = "SegDataPreProcessor" if "mmseg" in libraries else "DetDataPreprocessor"
        raise BadInputError(
            f"model.data_preprocessor is {spec!r}, which hands the pictures on one by one; expected one that makes a "
            f"batch of them, such as dict(type={stock!r}, mean=[...], std=[...], bgr_to_rgb=True)"
        )


def _built(cls: type[nn.Module], spec: dict[str, Any]) -> Any:
    try:
        with torch.device("meta"):
            backbone: Any = cls(**spec)
        _check_intake(backbone, spec.get("init_cfg"))
        return backbone
    except ValueError as error:
        raise BadInputError(f"model.backbone: {error}") from error
    except TypeError as error:
        # Only a value of another type than its argument's brings these lines to a TypeError.
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            known = near_names(unknown[1], arguments_of(cls))
            raise BadInputError(f"model.backbone: {cls.__name__} takes no argument {unknown[1]!r}; {known}") from error
        values = ", ".join(f"{key}={value!r}" for key, value in spec.items())
        raise BadInputError(
            f"model.backbone: {cls.__name__} cannot be built from {values} ({error}); correct the value of wrong type"
        ) from error


def _check_intake(backbone: nn.Module, init_cfg: Any) -> None:
    """Check that a pre-trained file on this machine fits the backbone that starts from it."""
    for init in _as_list(init_cfg):
        file = init.get("checkpoint") if isinstance(init, dict) and init.get("type") == "Pretrained" else None
        if isinstance(file, str) and "://" not in file:
            fit_backbone(backbone, read_pretrained(file), file, prefix=init.get("prefix"))


def check_build(cfg: Config) -> None:
    """Build the model as a run will, and drop it: seconds, where what comes first would take longer.

    Raises:
        BadInputError: At the first part that cannot be built.
    """
    with explained(cfg), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        MODELS.build(copy.deepcopy(cfg.model))


def check_classes(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check that the heads of a detector have as many classes as the data sets of the run.

    Args:
        cfg: The config of a run, whose data is checked.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run reads.

    Raises:
        BadInputError: If a number differs.
    """
    heads = [(path, spec) for path, spec in _parts("model", cfg.model) if _has_classes(path, spec)]
    for split in splits:
        name = f"{split}_dataloader.dataset"
        for dataset in leaves_of((cfg.get(f"{split}_dataloader") or {}).get("dataset"), name):
            classes = (dataset.get("metainfo") or {}).get("classes")
            # Those that read class names as text have heads of a number of their own.
            if not _is_named(dataset["type"], "CocoDataset") or dataset.get("return_classes"):
                continue
            num_classes = 80 if classes is None else 1 if isinstance(classes, str) else len(classes)
            for path, spec in heads:
                if spec["num_classes"] != num_classes:
                    raise BadInputError(
                        f"{path}.num_classes={spec['num_classes']!r}, but the {split} data set has {num_classes} "
                        f"classes; set num_classes={num_classes}, or {name}.metainfo=dict(classes=(...))"
                    )


def _is_named(kind: Any, name: str) -> bool:
    """Tell whether a type is of a name, given as a class, or as text with its library's name or without."""
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2] == name


def _has_classes(path: str, spec: Any) -> bool:
    names = path.split(".")
    return "num_classes" in spec and not spec.get("class_agnostic") and bool({"bbox_head", "mask_head"} & set(names))


def _check_pretrained(path: str, value: Any) -> None:
    """Check weights on this machine that parts of the model start from."""
    for place, spec in _parts(path, value):
        init = spec.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            file = init.get("checkpoint")
            if not isinstance(file, str):
                raise BadInputError(f"{place}.init_cfg.checkpoint is {file!r}, expected the path of a checkpoint")
            if "://" not in file:
                # timm's training script stores options beside the weights, which backbones read past.
                read = read_pretrained if place == "model.backbone" else read_weights
                read(file, named=f"{place}.init_cfg.checkpoint")


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Walk over a part of a config and all dicts in it."""
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        yield from _parts(f"{path}.{key}", child)


def _check_class_token(model: Any, name: str, backbone: Any) -> None:
    """Check that a class token, which is no map, is pooled by nothing, and that a linear head reads one alone."""
    num_tokens = getattr(backbone, "num_class_tokens", 0) or int(getattr(backbone, "class_token", False))
    kinds = [neck.get("type") for neck in _as_list(model.get("neck")) if isinstance(neck, dict)]
    if num_tokens and "GlobalAveragePooling" in kinds:
        raise BadInputError(
            f"model.neck is GlobalAveragePooling, which pools a map, but {name} returns its class token "
            f"(class_token=True); set model.neck=None"
        )
    head = model.get("head")
    if num_tokens > 1 and isinstance(head, dict) and head.get("type") == "LinearClsHead":
        raise BadInputError(
            f"model.head is a LinearClsHead, which reads one vector, but {name} returns {num_tokens} tokens "
            f"(num_prefix={num_tokens}); set model.backbone.num_prefix=1, or give a head that reads (B, P, C)"
        )


def _check_consumers(model: Any, name: str, channels: tuple[int, ...]) -> None:
    """Compare with the neck, or without one with every head that names ``in_channels`` for the maps it takes."""
    necks = _as_list(model.get("neck"))
    kinds = [neck.get("type") for neck in necks if isinstance(neck, dict)]
    if isinstance(model.get("head"), dict) and kinds in ([], ["GlobalAveragePooling"]):
        _compare("head", model.head, [len(channels) - 1], name, channels)
    for neck in necks:
        if not isinstance(neck, dict) or not neck.get("type"):
            raise BadInputError(f"model.neck is {model.neck!r}, expected dict(type='FPN', ...), or a list of such")
        _compare("neck", neck, list(range(len(channels))), name, channels)
        # Behind necks that keep the backbone's channels, the next part is held to them, too.
        if neck["type"] not in _KEEPS_CHANNELS:
            if neck["type"] == "FPN" and neck is necks[-1]:
                _check_widths(model, neck)
                _check_levels(model, neck)
            return
    heads = [head for key in ("decode_head", "auxiliary_head") for head in _as_list(model.get(key))]
    for head in heads:
        indices = _as_list(head.get("in_index", -1))
        _compare("head", head, [i % len(channels) for i in indices], name, channels)


def _check_widths(model: Any, fpn: Any) -> None:
    """Compare the channels of FPN with what the heads behind it expect."""
    width = fpn.get("out_channels")
    _expect(model, ("rpn_head", "bbox_head"), "in_channels", width, "the neck gives")
    roi_head = model.get("roi_head") or {}
    for kind in ("bbox", "mask"):
        extractor = roi_head.get(f"{kind}_roi_extractor") if isinstance(roi_head, dict) else None
        if isinstance(extractor, dict) and extractor.get("type") == "SingleRoIExtractor":
            place = f"model.roi_head.{kind}_roi_extractor"
            _expect(roi_head, (f"{kind}_roi_extractor",), "out_channels", width, "the neck gives", "model.roi_head")
            _expect(roi_head, (f"{kind}_head",), "in_channels", width, f"{place} gives", "model.roi_head")


def _expect(owner: Any, names: tuple[str, ...], key: str, given: Any, source: str, path: str = "model") -> None:
    for name in names:
        for spec in _as_list(owner.get(name)):
            if isinstance(spec, dict) and isinstance(given, int) and spec.get(key, given) != given:
                raise BadInputError(
                    f"{path}.{name}.{key}={spec[key]!r}, but {source} {given} channels (out_channels); "
                    f"set {path}.{name}.{key}={given}"
                )


def _check_first_stride(model: Any, name: str, strides: tuple[int, ...]) -> None:
    """Compare the stride of FPN's first map with the one that anchors and regions take it for."""
    neck = (_as_list(model.get("neck")) or [None])[-1]
    start = neck.get("start_level", 0) if isinstance(neck, dict) and neck.get("type") == "FPN" else None
    if not isinstance(start, int) or not 0 <= start < len(strides):
        return
    for place, spec in _parts("model", model):
        key = "featmap_strides" if spec.get("type") == "SingleRoIExtractor" else "strides"
        given = spec.get(key)
        anchors = place.rpartition(".")[2] == "anchor_generator" and "roi_head" not in place
        if (key == "featmap_strides" or anchors) and isinstance(given, list | tuple) and given:
            first = given[0][0] if isinstance(given[0], list | tuple) else given[0]
            if isinstance(first, int) and first != strides[start]:
                raise BadInputError(
                    f"{place}.{key} begins with {first}, but the first map of model.neck has stride {strides[start]} "
                    f"(level {start} of {name}'s strides {strides}): boxes would be off by their ratio; emit the "
                    f"levels the heads are for with model.backbone.out_indices, such as (1, 2, 3) for strides from 8"
                )


def _check_levels(model: Any, fpn: Any) -> None:
    """Compare the number of FPN's maps with the number of strides that stand for them."""
    num_levels = fpn.get("num_outs")
    for place, spec in _parts("model", model):
        name = place.rpartition(".")[2]
        key = "featmap_strides" if spec.get("type") == "SingleRoIExtractor" else "strides"
        if key == "strides" and (name != "anchor_generator" or "roi_head" in place):
            continue
        strides = spec.get(key)
        if not isinstance(strides, list | tuple) or not isinstance(num_levels, int):
            continue
        # A region is pooled from the finer levels; anchors lie on every one.
        if len(strides) > num_levels or (key == "strides" and len(strides) < num_levels):
            raise BadInputError(
                f"{place}.{key} has {len(strides)} strides, but model.neck.num_outs={num_levels} maps are given; "
                f"set them to the same number"
            )


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
