"""Is the gradient of a run finite, and of a size that can be learnt from? Told with the name of the parameter."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from effvit_mm.errors import BadInputError
from effvit_mm.registry import HOOKS

# Readings at the beginning of a run, where an absurd gradient comes from initial values.
FIRST_STEPS = 10


@HOOKS.register_module()
class GradientHook(Hook):
    """Look at the gradients before the optimizer's steps: stop where one is not finite, warn where they are absurd.

    Every run of :class:`~effvit_mm.engine.runner.ExactRunner` has this hook. It sees gradients as they are summed up
    over accumulated batches and unscaled by mixed precision, before they are clipped. Steps that the scaler of mixed
    precision leaves out for their overflow are no fault.

    On a CPU, and where gradients are clipped (MMEngine reads their norm then), it looks at every step; elsewhere, where
    reading a number makes the processor wait for the accelerator, at the first 10 steps and at every ``interval``-th.

    Args:
        interval: Steps from one look to the next on an accelerator, and from one warning to the next.
        limit: Norm of all gradients together above which they are absurd. In the recipes here it begins between 0.1 and
            1000; zero padding in front of LayerNorms and biases of 0 takes it above 1e5 in most networks.

    Cost:
        Reads each gradient once more, a fifth of what AdamW reads and writes.

    Raises:
        ValueError: If ``interval`` is less than 1, or ``limit`` is not above 0.
    """

    def __init__(self, interval: int = 50, limit: float = 1e5) -> None:
        if interval < 1:
            raise ValueError(f"GradientHook.interval={interval} must be at least 1 step")
        if not limit > 0:
            raise ValueError(f"GradientHook.limit={limit} must be above 0")
        self.interval = interval
        self.limit = limit
        self._num_steps = 0
        self._next_warning = 0

    def before_train(self, runner: Runner) -> None:
        """Stand in front of the clipping, or of the optimizer's step where nothing is clipped."""
        wrapper = runner.optim_wrapper
        for one in wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
            if one.clip_grad_kwargs:
                one.clip_func = self._in_front_of(one.clip_func, runner, one)
            else:
                one.optimizer.register_step_pre_hook(
                    lambda optimizer, args, kwargs, one=one: self._look(runner, one, _parameters(optimizer))
                )

    def _in_front_of(self, clip: Callable[..., Any], runner: Runner, wrapper: OptimWrapper) -> Callable[..., Any]:
        def look_and_clip(parameters: list[Tensor], **options: Any) -> Any:
            self._look(runner, wrapper, parameters)
            return clip(parameters, **options)

        return look_and_clip

    def _look(self, runner: Runner, wrapper: OptimWrapper, parameters: Iterable[Tensor]) -> None:
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        self._num_steps += 1
        waits = any(parameter.device.type != "cpu" for parameter in parameters) and not wrapper.clip_grad_kwargs
        is_due = not waits or self._num_steps <= FIRST_STEPS or self._num_steps % self.interval == 0
        if not parameters or not is_due:
            return
        norms = torch.stack([_norm(parameter.grad) for parameter in parameters])
        total = float(norms.norm())
        if total <= self.limit:
            return
        names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
        named = {names.get(id(p), "?"): norm for p, norm in zip(parameters, norms.tolist(), strict=True)}
        if not math.isfinite(total):
            if not isinstance(wrapper, AmpOptimWrapper):
                state = (
                    f"the weights may be spoilt, for it is looked at every {self.interval} steps"
                    if waits
                    else "the step is not taken, the weights are as they were"
                )
                raise BadInputError(_not_finite(named, runner.iter + 1, state))
        elif self._num_steps >= self._next_warning:
            self._next_warning = self._num_steps + self.interval
            runner.logger.warning(_absurd(named, total, runner.iter + 1))


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _norm(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient.detach(), dtype=torch.promote_types(gradient.dtype, torch.float32))


def _not_finite(norms: dict[str, float], iteration: int, state: str) -> str:
    broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
    # The gradient comes from the loss: what is nearest to it, the last of the network, broke first.
    return (
        f"iteration {iteration}: the gradient of {broken[-1]} is not finite ({norms[broken[-1]]}), one of "
        f"{len(broken)} of {len(norms)} parameters; {state}. Look at the losses in the log in front of it; a lower "
        f"optim_wrapper.optimizer.lr, a longer warm-up, optim_wrapper.clip_grad.max_norm=1.0 from the beginning, or "
        f"fp32 or bf16 in place of fp16 keep it finite; go on from the last checkpoint with --resume"
    )


def _absurd(norms: dict[str, float], total: float, iteration: int) -> str:
    largest = max(norms, key=norms.__getitem__)
    return (
        f"iteration {iteration}: the gradient has a norm of {total:.3g}, of which {largest} has {norms[largest]:.3g}: "
        f"clipping leaves next to nothing of the other parameters' step, and without it Adam's second moment of this "
        f"parameter is spoilt. Look at what stands behind it: a normalisation of zeros (zero padding, biases of 0), or "
        f"a loss that is not averaged"
    )
