"""What training token selection adds to a run: the selectors' loss, a teacher for it, and the share that is kept."""

import copy
import functools
from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.checkpoint import read_weights
from effvit_mm.checkpoint.intake import fit_backbone
from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS


def selective_backbones(model: nn.Module) -> list[ToSADeiT]:
    """Return the networks inside a model that select tokens.

    Raises:
        BadInputError: If there is none.
    """
    model = cast(nn.Module, model.module) if is_model_wrapper(model) else model
    found = [module for module in model.modules() if isinstance(module, ToSADeiT)]
    if not found:
        raise BadInputError(
            f"{type(model).__name__} has no backbone that selects tokens; take SelectorLossHook and KeepAnnealingHook "
            f"out of custom_hooks, or set model.backbone.type='ToSADeiT'"
        )
    return found


@HOOKS.register_module()
class SelectorLossHook(Hook):
    """Add ``loss_selector`` to what a model's forward returns for training, whatever detector it is.

    The loss goes through the same sum, gradient scaling and accumulation as the detector's own, and into the log.

    Args:
        weight: Factor of the loss.
        teacher: A checkpoint whose backbone, dense and frozen, says which maps the selectors learn; None for the maps
            of the layers that are trained. A step with a teacher costs one dense forward of the backbone more.

    Raises:
        ValueError: If ``weight`` is negative.
    """

    def __init__(self, weight: float = 1.0, teacher: str | None = None) -> None:
        if weight < 0:
            raise ValueError(f"SelectorLossHook.weight={weight} must be 0 or more")
        self.weight = weight
        self.teacher = teacher
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Stand beside the model's forward, inside the wrapper of several processes."""
        model = cast(nn.Module, runner.model.module) if is_model_wrapper(runner.model) else runner.model
        backbones = selective_backbones(model)
        if self.teacher is not None:
            for backbone in backbones:
                backbone.teacher = _dense_teacher(backbone, self.teacher)
        self._handle = model.register_forward_hook(functools.partial(self._add_loss, backbones))

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        if self._handle is not None:
            self._handle.remove()
        for backbone in selective_backbones(runner.model):
            backbone.teacher = None

    def _add_loss(self, backbones: list[ToSADeiT], model: nn.Module, args: Any, output: Any) -> Any:
        losses = [loss for backbone in backbones for loss in backbone.auxiliary_losses().values()]
        if not losses or not isinstance(output, dict):
            return output
        total: Tensor = torch.stack(losses).sum()
        return {**output, "loss_selector": self.weight * total}


@HOOKS.register_module()
class KeepAnnealingHook(Hook):
    """Lower the share of tokens that selective layers work on from one value to another, linearly over iterations.

    Until ``begin`` it is ``start``, from ``end`` on the backbone's own ``keep``, which evaluation always uses.

    Args:
        start: Share at the beginning; 1 is a dense network.
        begin: Where annealing begins, as a share of the run.
        end: Where it ends, as a share of the run.

    Raises:
        ValueError: If a share is out of range.
    """

    def __init__(self, start: float = 1.0, begin: float = 0.0, end: float = 0.5) -> None:
        if not 0 < start <= 1:
            raise ValueError(f"KeepAnnealingHook.start={start} must be above 0 and at most 1")
        if not 0 <= begin < end <= 1:
            raise ValueError(f"KeepAnnealingHook.begin={begin} and end={end} must be shares of the run, 0 to 1, rising")
        self.start, self.begin, self.end = start, begin, end
        self._goals: list[tuple[ToSADeiT, tuple[float, ...]]] = []

    def before_train(self, runner: Runner) -> None:
        """Note the shares that annealing ends at."""
        self._goals = [(backbone, backbone.keep) for backbone in selective_backbones(runner.model)]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the shares of this iteration, by its number alone: a resumed run goes on as it was."""
        done = runner.iter / max(runner.max_iters, 1)
        way = min(max((done - self.begin) / (self.end - self.begin), 0.0), 1.0)
        for backbone, goals in self._goals:
            # Rounded, so that a share is a short decimal number and 1 is 1.
            backbone.keep = tuple(round(self.start + way * (goal - self.start), 4) for goal in goals)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show the share in the log, and put the goal back: what is evaluated or saved between iterations is whole."""
        shares = [share for backbone, _ in self._goals for share in backbone.keep]
        runner.message_hub.update_scalar("train/keep", sum(shares) / len(shares))
        for backbone, goals in self._goals:
            backbone.keep = goals


def _dense_teacher(backbone: ToSADeiT, file: str) -> Any:
    """Return the function that gives the dense maps of a frozen copy with the weights of a file."""
    teacher = copy.deepcopy(backbone).requires_grad_(False).eval()
    teacher.load_state_dict(fit_backbone(teacher, read_weights(file, named="teacher"), file).weights)
    # A bound method, not a module: the teacher is no part of the model's state and learns nothing.
    return teacher.true_maps
