"""Losses of a network's own parts, such as the keep ratio of a token reducer, beside those of any model."""

from collections import defaultdict
from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS


@HOOKS.register_module()
class AuxiliaryLossHook(Hook):
    """Add what every part's ``auxiliary_losses()`` returns to what a model's forward returns for training.

    The losses keep their names and go through the same sum, gradient scaling and accumulation as the model's own, and
    into the log; those of a name that several parts have are added up.

    Args:
        weight: Factor of the losses.

    Raises:
        ValueError: If ``weight`` is negative.
    """

    def __init__(self, weight: float = 1.0) -> None:
        if weight < 0:
            raise ValueError(f"AuxiliaryLossHook.weight={weight} must be 0 or more")
        self.weight = weight
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Stand beside the model's forward, inside the wrapper of several processes."""
        model = cast(nn.Module, runner.model.module) if is_model_wrapper(runner.model) else runner.model
        if not _parts_with_losses(model):
            raise BadInputError(
                f"{type(model).__name__} has no part with auxiliary_losses(); take AuxiliaryLossHook out of "
                f"custom_hooks, or set model.backbone.type='ReducedDeiT'"
            )
        self._handle = model.register_forward_hook(self._add_losses)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        if self._handle is not None:
            self._handle.remove()

    def _add_losses(self, model: nn.Module, args: Any, output: Any) -> Any:
        found: defaultdict[str, list[Tensor]] = defaultdict(list)
        for part in _parts_with_losses(model):
            for name, loss in part.auxiliary_losses().items():
                found[name].append(loss)
        if not isinstance(output, dict):
            return output
        return {**output, **{name: self.weight * torch.stack(losses).sum() for name, losses in found.items()}}


def _parts_with_losses(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if callable(getattr(module, "auxiliary_losses", None))]
