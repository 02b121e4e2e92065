"""A pre-trained file taken into a backbone, whole: MMEngine's ``Pretrained`` loads what fits and goes on.

What a classifier and a network for dense prediction do not share has known names: the norms of their outputs and the
levels of a simple pyramid start fresh, the head and the class token are left out, and both are told. So it is with the
selectors of tokens, which a dense network does not have. Anything else that differs is an error.
"""

import argparse
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from effvit_mm.backbones.dense_backbone import DenseBackbone
from effvit_mm.checkpoint.fit import read_weights, weights_of
from effvit_mm.checkpoint.origin import backbone_noted
from effvit_mm.checkpoint.released import shown_shape
from effvit_mm.checkpoint.safe_load import UnsafeCheckpointError
from effvit_mm.errors import BadInputError, listed, some_of
from effvit_mm.layers.removed_parameters import removed_parameters

NUM_NAMED = 8

_OUTPUTS = re.compile(r"(norms|pyramid)\.\d+\..+")
_SELECTORS = re.compile(r"selections\.\d+\..+")
_PREFIX_TOKENS = re.compile(r"(.+\.)?prefix\.tokens")
_TABLE = re.compile(r"(?:stages\.(\d+)\.)?.*(positions\.table|bias_table)")
_COLUMNAR_STRIDE = 16


@dataclass
class Intake:
    """Weights for a backbone, and what became of every name.

    Attributes:
        weights: A state dict that the backbone loads with ``strict=True``.
        fresh: Names of the backbone that the file lacks; they keep the values they have.
        dropped: By name in the file, why it has no place in the backbone.
    """

    weights: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    fresh: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


class PretrainedBackbone:
    """MMEngine's ``init_cfg`` of type ``Pretrained`` as our backbones read it.

    Args:
        checkpoint: A file that training a classifier or detector wrote, that ``tools/convert.py`` wrote, that timm's
            training script wrote, or of weights alone; ``.pth`` or ``.safetensors``.
        prefix: What the names in the file begin with; by default ``'backbone.'`` where some do, else nothing.
        map_location: Taken for the sake of MMEngine's configs: weights go where the backbone is.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def __call__(self, module: DenseBackbone) -> None:
        """Load the file, and say in the log what starts fresh and what was left out.

        Raises:
            BadInputError: If the file cannot be read safely, or does not fit.
        """
        weights = read_pretrained(self.checkpoint)
        intake = fit_backbone(module, weights, self.checkpoint, prefix=self.prefix)
        module.load_state_dict(intake.weights, strict=True)
        print_log(_account(module, intake, self.checkpoint), logger="current")


def read_pretrained(file: str, *, named: str = "checkpoint") -> OrderedDict[str, Tensor]:
    """Read the weights of a pre-trained file; nothing that a local one brings along is run.

    Args:
        file: A path, or an address that MMEngine's loaders know.
        named: What to call it in an error.

    Raises:
        BadInputError: If the file is missing, is no checkpoint, or holds no weights or some that are nan.
    """
    if "://" in file:
        return weights_of(CheckpointLoader.load_checkpoint(file, map_location="cpu"), Path(file))
    # timm's training script stores its options beside the weights: plain values.
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        return read_weights(Path(file).expanduser(), named=named)
    except UnsafeCheckpointError as error:
        raise BadInputError(f"{named}: {error}. A released file goes through tools/convert.py first") from error


def fit_backbone(backbone: nn.Module, weights: Mapping[str, Tensor], file: str, *, prefix: str | None = None) -> Intake:
    """Lay weights out for a backbone.

    Args:
        backbone: A :class:`~effvit_mm.backbones.dense_backbone.DenseBackbone`; one on the meta device will do.
        weights: As :func:`read_pretrained` returns them.
        file: Where they come from, for errors.
        prefix: As for :class:`PretrainedBackbone`.

    Returns:
        The weights, and what became of every name.

    Raises:
        BadInputError: If a name is missing or unexpected or a shape differs, but for what a classifier and a network
            for dense prediction do not share.
    """
    intake = Intake()
    given = _inside(weights, file, prefix, intake)
    own = backbone.state_dict()
    problems: list[str] = []
    for name, value in own.items():
        if name not in given:
            if _OUTPUTS.fullmatch(name) or _SELECTORS.fullmatch(name):
                intake.fresh.append(name)
            else:
                problems.append(f"it lacks {name}")
            intake.weights[name] = value
            continue
        found = _without_prefix_rows(name, given, own, intake)
        if found.shape != value.shape:
            problems.append(f"{name} has shape {shown_shape(found)}, and the network's has {shown_shape(value)}")
        intake.weights[name] = found
    removed = removed_parameters(backbone)
    for name in given.keys() - own.keys():
        if name in removed:
            intake.dropped[name] = "a bias without effect, which this layer no longer has"
        elif why := _why_left_out(name, backbone):
            intake.dropped[name] = why
        else:
            problems.append(f"the network has no {name}")
    if problems:
        raise BadInputError(_refusal(backbone, given, own, file, sorted(problems)))
    return intake


def _inside(weights: Mapping[str, Tensor], file: str, prefix: str | None, intake: Intake) -> dict[str, Tensor]:
    """Take the backbone's weights out of a whole model's, and their names without what stands before them."""
    weights = {name.removeprefix("_orig_mod."): value for name, value in weights.items()}  # of a compiled model
    if prefix is None:
        prefix = "backbone." if any(name.startswith("backbone.") for name in weights) else ""
    elif prefix and not prefix.endswith("."):
        prefix += "."
    given = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not given:
        raise BadInputError(
            f"init_cfg.prefix={prefix!r}: none of the {len(weights)} names in {file} ({next(iter(weights))}, ...) "
            f"begins with it; leave prefix out, or give what the names of the backbone begin with"
        )
    intake.dropped.update({name: "not the backbone's" for name in weights if not name.startswith(prefix)})
    return given


def _without_prefix_rows(name: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor], intake: Intake) -> Tensor:
    """Take the rows of a class token off a position table where the network has no such token."""
    value = given[name]
    tokens = f"{name.removesuffix('positions.table')}prefix.tokens"
    if not name.endswith("positions.table") or tokens in own or tokens not in given:
        return value
    num_tokens = given[tokens].shape[1]
    intake.dropped[f"{name}[:, :{num_tokens}]"] = "the position of the classifier's token"
    return value[:, num_tokens:]


def _why_left_out(name: str, backbone: nn.Module) -> str:
    """Say why a name of the file may have no place in the network; an empty string where it should have one."""
    if _OUTPUTS.fullmatch(name):
        return "an output that this network does not have"
    if _SELECTORS.fullmatch(name):
        return "a selector of tokens that this network does not have"
    if _PREFIX_TOKENS.fullmatch(name):
        return "the classifier's token"
    for part, depth in (("stages", getattr(backbone, "num_stages", 0)), ("blocks", getattr(backbone, "depth", 0))):
        built = getattr(backbone, part, None)
        number = re.match(rf"{part}\.(\d+)\.", name)
        if built is not None and number and len(built) <= int(number[1]) < depth:
            return "behind the last output"
    return ""


def _refusal(
    backbone: nn.Module, given: Mapping[str, Tensor], own: Mapping[str, Tensor], file: str, problems: list[str]
) -> str:
    kind = type(backbone).__name__
    return f"{file} does not fit the backbone {kind}:{listed(problems)}\n{_remedy(kind, given, own, file)}"


def _remedy(kind: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor], file: str) -> str:
    noted = "" if "://" in file else backbone_noted(file)
    if noted not in ("", kind):
        return (
            f"it holds {noted}, this config has {kind}: give a checkpoint of {kind}, or set "
            f"model.backbone.type={noted} and its options"
        )
    if not noted and not given.keys() & own.keys():
        return (
            f"none of its names ({next(iter(given))}, ...) is one of ours: convert a released file first, with "
            f"tools/convert.py {file} DESTINATION --to NAME --task backbone"
        )
    sizes = {name: _picture_size(name, given[name]) for name in given.keys() & own.keys() if _TABLE.fullmatch(name)}
    other = [size for name, size in sizes.items() if size != _picture_size(name, own[name])]
    if other:
        return (
            f"its position tables are stored for pictures of {max(other)} pixels: set "
            f"model.backbone.pretrain_img_size={max(other)} (from there they are resized to any picture){_noted(file)}"
        )
    return f"give model.backbone the type, variant and options these weights were trained with{_noted(file)}"


def _picture_size(name: str, table: Tensor) -> int:
    """Return the side in pixels of the square pictures that a table of positions is stored for."""
    stage, kind = _TABLE.fullmatch(name).groups()  # type: ignore[union-attr]
    stride = _COLUMNAR_STRIDE if stage is None else 4 * 2 ** int(stage)
    if kind == "bias_table":
        return stride * (math.isqrt(len(table)) + 1) // 2
    return stride * math.isqrt(table.shape[1])


def _noted(file: str) -> str:
    """Return the arguments that ``tools/convert.py`` noted beside a file, in words."""
    sidecar = Path(file).with_suffix(".json")
    if "://" in file or not sidecar.is_file():
        return ""
    return f"; {sidecar} notes what these weights need: {sidecar.read_text().strip()[:300]}"


def _account(backbone: nn.Module, intake: Intake, file: str) -> str:
    taken = len(intake.weights) - len(intake.fresh)
    lines = [f"{type(backbone).__name__} took {taken} of its {len(intake.weights)} weights and buffers from {file}"]
    if intake.fresh:
        lines.append(f"fresh, not in the file: {some_of(intake.fresh, NUM_NAMED)}")
    for why in dict.fromkeys(intake.dropped.values()):
        names = [name for name, reason in intake.dropped.items() if reason == why]
        lines.append(f"left out, {why}: {some_of(sorted(names), NUM_NAMED)}")
    return "\n  ".join(lines)
