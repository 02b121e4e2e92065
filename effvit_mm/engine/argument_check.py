"""Does what a run is made of take the arguments that the config gives it? Asked before anything is built.

Of hooks, loops, data loaders, the optimizer wrapper and the randomness, a misspelt argument would otherwise be met
late: a checkpoint hook passes what it does not know on to the writing of the first checkpoint. What takes arguments of
any name (``**kwargs``) is left alone. Of the model, an argument is known to be wrong only when its part is built,
because parts hand each other more than the config says.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPERS, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from effvit_mm.engine.explain import arguments_of, names_in
from effvit_mm.engine.types_of_ours import how_to_register
from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names

# What MMEngine's Runner takes out of a piece before it builds the rest of it.
TAKEN_OUT = {
    "hook": {"priority"},
    "loop": {"by_epoch"},
    "data loader": {"num_batch_per_epoch", "disable_subprocess_warning"},
    "optimizer wrapper": {"constructor", "paramwise_cfg"},
}
# What it gives a loop itself.
GIVEN = {"self", "runner", "dataloader", "evaluator"}
# These hand **kwargs on to something that takes no other arguments than the ones they name.
STRICT = (CheckpointHook.__init__, AmpOptimWrapper.__init__)


def check_arguments(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the names of hooks, and of the arguments of what a run is made of; see the module.

    Args:
        cfg: The config of a run, whose sections are there.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run has.

    Raises:
        BadInputError: At the first name that nothing has; near names are suggested.
    """
    scope = cfg.get("default_scope")
    for path, spec in hooks_of(cfg):
        cls = class_of_type(HOOKS, spec["type"], scope)
        if cls is None and isinstance(spec["type"], str):
            with HOOKS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
                remedy = how_to_register(spec["type"], names_in(registry))
            raise BadInputError(f"{path}.type={spec['type']!r} is not a registered hook; {remedy}")
        _check_names(path, spec, cls, "hook")
    for split in splits:
        loader, loop = cfg.get(f"{split}_dataloader"), cfg.get(f"{split}_cfg")
        if isinstance(loader, dict):
            _check_names(f"{split}_dataloader", loader, DataLoader, "data loader")
        if isinstance(loop, dict):
            _check_names(f"{split}_cfg", loop, class_of_type(LOOPS, _loop_of(split, loop), scope), "loop")
    settled = set(inspect.signature(Runner.set_randomness).parameters) - {"self"}
    for name in cfg.get("randomness") or {}:
        if name not in settled:
            raise BadInputError(f"randomness.{name} is no setting of it; {near_names(name, settled)}")
    wrapper = cfg.get("optim_wrapper")
    if "train" in splits and isinstance(wrapper, dict) and not wrapper.get("constructor"):
        cls = class_of_type(OPTIM_WRAPPERS, wrapper.get("type", "OptimWrapper"), scope)
        _check_names("optim_wrapper", wrapper, cls, "optimizer wrapper")


def hooks_of(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Walk over the hooks that are to be built from a dict, with their places in the config."""
    custom = cfg.get("custom_hooks")
    hooks = [(f"default_hooks.{name}", spec) for name, spec in (cfg.get("default_hooks") or {}).items()]
    hooks += [(f"custom_hooks.{i}", spec) for i, spec in enumerate(custom if isinstance(custom, list | tuple) else ())]
    return ((path, spec) for path, spec in hooks if isinstance(spec, dict) and spec.get("type"))


def _loop_of(split: str, loop: Any) -> Any:
    if split != "train":
        return loop.get("type") or f"{split.capitalize()}Loop"
    return loop.get("type") or ("EpochBasedTrainLoop" if loop.get("by_epoch") else "IterBasedTrainLoop")


def class_of_type(registry: Registry, kind: Any, scope: str | None) -> Any:
    """Return what a type of a config stands for; None where its name is not registered, or it is none.

    Args:
        registry: Where it is registered.
        kind: The type: a name or a class.
        scope: The config's ``default_scope``.
    """
    if not isinstance(kind, str):
        return kind if isinstance(kind, type) else None
    with registry.switch_scope_and_registry(scope) as scoped:
        return scoped.get(kind)


def _check_names(path: str, spec: Any, cls: Any, kind: str) -> None:
    if not isinstance(cls, type) or (_takes_any(cls) and cls.__init__ not in STRICT):
        return
    arguments = (arguments_of(cls) | TAKEN_OUT[kind]) - GIVEN
    for name in spec:
        if str(name) not in arguments | {"type", "_scope_"}:
            raise BadInputError(
                f"{path}.{name} is no argument of the {kind} {cls.__name__}; {near_names(name, arguments)}"
            )


def _takes_any(cls: type) -> bool:
    if cls.__init__ is object.__init__:
        return False  # although its signature says so
    parameters = inspect.signature(cls.__init__).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
