"""Do weights fit a model? MMEngine loads what fits and goes on; a figure from half a network is worth nothing."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import load_state_dict
from torch import Tensor, nn

from effvit_mm.checkpoint.safe_load import load_safely
from effvit_mm.errors import BadInputError, listed


def read_weights(file: str | Path, *, named: str = "checkpoint") -> OrderedDict[str, Tensor]:
    """Read the weights of a checkpoint, without the prefix that parallel training puts before their names.

    Args:
        file: A checkpoint of MMEngine, or of weights alone.
        named: What to call it in an error.

    Returns:
        The weights by name.

    Raises:
        BadInputError: If the file is missing, is no checkpoint, or holds no weights or some that are nan.
    """
    file = Path(file)
    if not file.is_file():
        state = "is no file" if file.exists() else "does not exist"
        raise BadInputError(f"{named} {file} {state}; give the path of a .pth or .safetensors file")
    return weights_of(load_safely(file), file)


def weights_of(checkpoint: Mapping[str, Any], file: Path) -> OrderedDict[str, Tensor]:
    """Take the weights out of a loaded checkpoint; as :func:`read_weights`."""
    found = checkpoint.get("state_dict", checkpoint)
    weights = {}
    if isinstance(found, Mapping):
        weights = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not weights:
        raise BadInputError(f"checkpoint {file} holds no weights by name (state_dict); give one that training wrote")
    odd = [name for name, value in weights.items() if value.is_floating_point() and bool(torch.isnan(value).any())]
    if odd:
        raise BadInputError(
            f"checkpoint {file} holds weights that are not numbers (nan), such as {odd[0]}: the run that wrote it had "
            f"diverged; use an earlier checkpoint"
        )
    bare = OrderedDict((name.removeprefix("module."), value) for name, value in weights.items())
    # Layers that have changed their names since read here in which version they were written.
    vars(bare)["_metadata"] = getattr(found, "_metadata", OrderedDict())
    return bare


def load_whole(model: nn.Module, weights: OrderedDict[str, Tensor], file: str | Path) -> None:
    """Load weights into a model, all or none missing.

    Raises:
        BadInputError: If names or shapes differ, with the first of them.
    """
    try:
        load_state_dict(model, weights, strict=True)
    except RuntimeError as error:
        lines = [line[:300] for line in str(error).splitlines()[1:] if line.strip()]
        raise BadInputError(
            f"checkpoint {file} is of another network than the config's:{listed(lines, most=6)}\n"
            f"give the config it was trained with (it lies beside it), or the checkpoint of this config"
        ) from error


def check_some_fit(model: nn.Module, weights: Mapping[str, Tensor], file: str | Path) -> None:
    """Check that weights to start from have at least one name and shape in common with the model.

    Raises:
        BadInputError: If they have none: training would start from nothing without a word.
    """
    own = model.state_dict()
    if not any(name in own and own[name].shape == value.shape for name, value in weights.items()):
        raise BadInputError(
            f"load_from={str(file)!r}: none of its {len(weights)} weights ({next(iter(weights))}, ...) has a name and "
            f"shape of the model's ({next(iter(own), 'none')}, ...); for a backbone's weights set "
            f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
