"""What training token selection adds to a run: the selectors' loss, a teacher's, and the share that is kept."""

import functools
from collections.abc import Iterator
from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.engine.dense_teacher import DenseTeacher, feature_distance, logit_distance
from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS


def selective_backbones(model: nn.Module) -> list[ToSADeiT]:
    """Return the networks inside a model that select tokens.

    Raises:
        BadInputError: If there is none.
    """
    model = _unwrapped(model)
    found = [module for module in model.modules() if isinstance(module, ToSADeiT)]
    if not found:
        raise BadInputError(
            f"{type(model).__name__} has no backbone that selects tokens; take SelectorLossHook and KeepAnnealingHook "
            f"out of custom_hooks, or set model.backbone.type='ToSADeiT'"
        )
    return found


def freeze_around_selectors(model: nn.Module) -> None:
    """Freeze neck and heads around a backbone in its selector stage: that stage trains the selectors and nothing else.

    Called before a model is wrapped for several processes, which must not wait for gradients that do not come.
    """
    for part in _around_selectors(model):
        part.requires_grad_(False)


@HOOKS.register_module()
class SelectorLossHook(Hook):
    """Add ``loss_selector``, and what else a dense teacher has to say, to a model's losses, whatever detector it is.

    The losses go through the same sum, gradient scaling and accumulation as the detector's own, and into the log. In
    the selector stage norms and dropout of neck and heads stay in evaluation, like their weights as they are.

    Args:
        weight: Factor of the selectors' loss.
        teacher: A checkpoint of a dense network, which says, frozen, which maps the selectors learn; None for the maps
            of the layers that are trained.
        feature_weight: In the joint stage, factor of ``loss_feature``, the mean squared distance of the backbone's
            outputs from the teacher's, each place normalised over its channels; 0 for none. Works with any model.
        logit_weight: In the joint stage, factor of ``loss_logit``, the KL divergence of a classifier's logits from the
            teacher's; 0 for none.

    Cost:
        A step with a teacher: one dense forward of the backbone more, without gradients, whichever of the three it
        teaches.

    Raises:
        ValueError: If a weight is negative, or asks for a teacher where none is given.
        BadInputError: At the beginning of a run, if the teacher has nothing to teach: no selectors and no weights.
    """

    def __init__(
        self,
        weight: float = 1.0,
        teacher: str | None = None,
        feature_weight: float = 0.0,
        logit_weight: float = 0.0,
    ) -> None:
        for name, value in (("weight", weight), ("feature_weight", feature_weight), ("logit_weight", logit_weight)):
            if value < 0:
                raise ValueError(f"SelectorLossHook.{name}={value} must be 0 or more")
            if name != "weight" and value and teacher is None:
                raise ValueError(f"SelectorLossHook.{name}={value} needs teacher, a checkpoint of the dense stage")
        self.weight, self.feature_weight, self.logit_weight = weight, feature_weight, logit_weight
        self.teacher = teacher
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._backbones: list[ToSADeiT] = []
        self._resting: list[nn.Module] = []
        # Of the forward that runs now.
        self._found: dict[str, Tensor] = {}
        self._taught_logits: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Stand beside the model's forward, inside the wrapper of several processes."""
        model = _unwrapped(runner.model)
        self._backbones = selective_backbones(model)
        self._resting = list(_around_selectors(model))
        self._handles = [model.register_forward_hook(self._add_losses)]
        if self.teacher is not None:
            for backbone in self._backbones:
                self._teach(model, backbone, self.teacher)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Put what rests in the selector stage back into evaluation, which the loop has just left."""
        for part in self._resting:
            part.eval()

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        for backbone in self._backbones:
            backbone.teacher = None

    def _teach(self, model: nn.Module, backbone: ToSADeiT, file: str) -> None:
        features, logits = (
            weight > 0 and backbone.stage == "joint" for weight in (self.feature_weight, self.logit_weight)
        )
        if backbone.importance != "predicted" and not (self.feature_weight or self.logit_weight):
            raise BadInputError(
                f"SelectorLossHook.teacher={file} would teach nothing: its maps are for selectors, and "
                f"importance={backbone.importance!r} has none; leave it out, or set feature_weight or logit_weight"
            )
        teacher = DenseTeacher(model, backbone, file, features=features, logits=logits)
        backbone.teacher = teacher.maps
        if features or logits:
            compare = functools.partial(self._compare, teacher, features)
            self._handles.append(backbone.register_forward_hook(compare))
        if logits:
            self._handles.append(cast(nn.Module, model.head).register_forward_hook(self._compare_logits))

    def _compare(self, teacher: DenseTeacher, features: bool, backbone: ToSADeiT, args: Any, outputs: Any) -> None:
        """Compare what the backbone gives in training with what the teacher does."""
        if not (backbone.training and torch.is_grad_enabled()):
            return
        taught = teacher.outputs(args[0])
        if features:
            self._found["loss_feature"] = self.feature_weight * feature_distance(outputs, taught)
        if teacher.read_out is not None:
            self._taught_logits = teacher.logits(taught)

    def _compare_logits(self, head: nn.Module, args: Any, logits: Tensor) -> None:
        taught, self._taught_logits = self._taught_logits, None
        if taught is not None:
            self._found["loss_logit"] = self.logit_weight * logit_distance(logits, taught)

    def _add_losses(self, model: nn.Module, args: Any, output: Any) -> Any:
        found, self._found = self._found, {}
        losses = [loss for backbone in self._backbones for loss in backbone.auxiliary_losses().values()]
        if losses:
            found["loss_selector"] = self.weight * torch.stack(losses).sum()
        return {**output, **found} if isinstance(output, dict) else output


@HOOKS.register_module()
class KeepAnnealingHook(Hook):
    """Lower the share of tokens that selective layers work on from one value to another, linearly over iterations.

    Until ``begin`` it is ``start``, from ``end`` on the backbone's own ``keep``, which evaluation always uses. In the
    dense and the selector stage, which select nothing, it does nothing.

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
        backbones = [backbone for backbone in selective_backbones(runner.model) if backbone.stage == "joint"]
        self._goals = [(backbone, backbone.keep) for backbone in backbones]

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
        if shares:
            runner.message_hub.update_scalar("train/keep", sum(shares) / len(shares))
        for backbone, goals in self._goals:
            backbone.keep = goals


def _unwrapped(model: nn.Module) -> nn.Module:
    return cast(nn.Module, model.module) if is_model_wrapper(model) else model


def _around_selectors(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest parts of a model that hold nothing of a backbone in its selector stage; nothing without one."""
    alone = {module for module in model.modules() if isinstance(module, ToSADeiT) and module.stage == "selector"}
    for child in model.children() if alone else ():
        if child in alone:
            continue
        if alone & set(child.modules()):
            yield from _around_selectors(child)
        else:
            yield child
