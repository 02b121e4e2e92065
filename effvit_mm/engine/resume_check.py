"""What a checkpoint restores over a config is compared with it: where both differ, the config would have no effect."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner

from effvit_mm.errors import BadInputError, listed

# What schedulers work out of their arguments.
WORKED_OUT = ("total_iters", "total_steps", "min_values")
# What schedulers keep beside the value of a group that they move.
KEPT = ("initial_", "max_", "min_")


def check_restored(runner: Runner, checkpoint: dict[str, Any], file: str) -> list[Any]:
    """Compare what a resumed run takes from a checkpoint with what its config says, before anything is taken.

    The end of a schedule alone says how long it acts: there ``checkpoint`` gets the config's. Told in the log: epochs
    of another length. A best figure of another name than the config's ``save_best`` is left out of ``checkpoint``, so
    that the run judges anew.

    Args:
        runner: The runner, whose optimizer and schedules are built.
        checkpoint: What the checkpoint holds, changed in place.
        file: Its path.

    Returns:
        Schedulers that have a step to make up for once they are restored: they had ended with the run.

    Raises:
        BadInputError: If the optimizer's values, schedules or the average of the weights differ.
    """
    late = [scheduler for scheduler, state in _pairs(runner, checkpoint) if _takes_end(scheduler, state)]
    differences = [*_of_optimizers(runner, checkpoint), *_of_schedules(runner, checkpoint)]
    if "ema_state_dict" in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        differences.append("EMAHook: its average lies in the checkpoint in place of the weights, the config has none")
    if differences:
        raise BadInputError(
            f"{file} cannot be resumed with this config: it restores other values, and those of the config would "
            f"have no effect:{listed(differences, 8)}\n"
            f"To go on as the run began, give the checkpoint's values in the config (what a schedule leaves out "
            f"follows from train_cfg, the batch size and the number of images); to train as the config says, start "
            f"from the weights alone, with load_from={file!r}, without --resume and in another --work-dir"
        )
    _warn_epoch_length(runner, checkpoint["meta"])
    _leave_out_other_best(runner, checkpoint)
    return late


def _pairs(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Give each scheduler with its state in the checkpoint."""
    for _, ours, theirs in _lists(runner, checkpoint):
        yield from zip(ours, theirs, strict=False)


def _lists(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Give the schedulers of each optimizer, with their place in the config and their states in the checkpoint."""
    ours, theirs = runner.param_schedulers or [], checkpoint.get("param_schedulers") or []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, one in ours.items():
            yield f"param_scheduler.{name}", one, theirs.get(name, [])
    elif isinstance(ours, dict) or isinstance(theirs, dict):
        yield "param_scheduler", list(ours), []
    else:
        yield "param_scheduler", ours, theirs


def _takes_end(scheduler: Any, state: dict[str, Any]) -> bool:
    """Give a state the config's end if nothing else of it differs; tell whether a step has to be made up for."""
    if list(_of_schedule("", scheduler, {**state, "end": scheduler.end})) or state["end"] == scheduler.end:
        return False
    # A schedule acts on the steps in front of its end: the last of a run that ends with it was left out.
    missed = max(0, state["_global_step"] - min(state["end"], scheduler.end) + 1)
    if missed == 0 or (missed == 1 and scheduler.end > state["end"]):
        state["end"] = scheduler.end
        state["_global_step"] -= missed
    return missed == 1 and state["end"] == scheduler.end


def _of_optimizers(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    wrapper, saved = runner.optim_wrapper, checkpoint.get("optimizer")
    if not saved:
        return
    if isinstance(wrapper, OptimWrapperDict):
        for name, one in wrapper.items():
            states = (saved.get(name) or {}).get("param_groups", [])
            yield from _of_groups(f"optim_wrapper.{name}", one.optimizer.param_groups, states)
    elif isinstance(wrapper, OptimWrapper) and "param_groups" in saved:
        # The wrapper's own list has one group more, for the log.
        yield from _of_groups("optim_wrapper", wrapper.optimizer.param_groups, saved["param_groups"])


def _of_groups(place: str, groups: list[Any], saved: list[Any]) -> Iterator[str]:
    sizes, saved_sizes = ([len(group["params"]) for group in some] for some in (groups, saved))
    if sizes != saved_sizes:
        yield (
            f"{place}: {len(saved)} groups of {sum(saved_sizes)} parameters in the checkpoint, {len(groups)} of "
            f"{sum(sizes)} in the config (paramwise_cfg, frozen_stages)"
        )
        return
    lacking, more = ({key for key in one[0] if not key.startswith(KEPT)} for one in (groups, saved))
    if lacking - more and more - lacking:
        yield f"{place}.optimizer: one with {_names(more)} in the checkpoint, one with {_names(lacking)} in the config"
        return
    # In the order of the optimizer; the first group that differs stands for all.
    for key in groups[0]:
        if key == "params" or key.startswith("initial_"):
            continue
        for group, other in zip(groups, saved, strict=True):
            if key in group and key in other and _begins(group, key) != _begins(other, key):
                yield _difference(f"{place}.optimizer.{key}", _begins(other, key), _begins(group, key))
                break


def _begins(group: Mapping[str, Any], key: str) -> Any:
    """Return a group's value before any schedule moved it."""
    return _plain(group.get(f"initial_{key}", group[key]))


def _of_schedules(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    for place, ours, theirs in _lists(runner, checkpoint):
        if len(ours) != len(theirs):
            yield f"{place}: {len(theirs)} schedulers in the checkpoint, {len(ours)} in the config"
            continue
        for i, (scheduler, state) in enumerate(zip(ours, theirs, strict=True)):
            yield from _of_schedule(f"{place}.{i}", scheduler, state)


def _of_schedule(place: str, scheduler: Any, state: Mapping[str, Any]) -> Iterator[str]:
    own = vars(scheduler)
    settings = [name for name in (*_arguments(type(scheduler)), *WORKED_OUT) if name in own]
    lacking = [name for name in settings if name not in state]
    if lacking:
        yield f"{place}: the checkpoint's has no {_names(lacking)}, which {type(scheduler).__name__} has"
        return
    for name in settings:
        if _plain(own[name]) != _plain(state[name]):
            yield _difference(f"{place}.{name}", _plain(state[name]), _plain(own[name]))


def _arguments(cls: type) -> dict[str, None]:
    """Return the names of the arguments of a scheduler's class, in their order."""
    inits = [vars(base)["__init__"] for base in reversed(cls.__mro__[:-1]) if "__init__" in vars(base)]
    names = dict.fromkeys(name for init in inits for name in inspect.signature(init).parameters)
    return {name: None for name in names if name not in ("self", "optimizer", "last_step", "verbose")}


def _plain(value: Any) -> Any:
    """Return a value in the type that it has after it was written and read."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value


def _difference(place: str, saved: Any, now: Any) -> str:
    return f"{place}: {saved!r} in the checkpoint, {now!r} in the config"


def _names(names: Any) -> str:
    return ", ".join(sorted(names))


def _warn_epoch_length(runner: Runner, meta: Mapping[str, Any]) -> None:
    loop, epoch, steps = runner.train_loop, meta["epoch"], meta["iter"]
    if not isinstance(loop, EpochBasedTrainLoop) or not epoch:
        return
    length = len(loop.dataloader)
    # A checkpoint that counts steps may lie within an epoch.
    within = any(isinstance(hook, CheckpointHook) and not hook.by_epoch for hook in runner.hooks)
    if not epoch * length <= steps <= epoch * length + (length - 1 if within else 0):
        runner.logger.warning(
            f"the checkpoint made {steps} steps in {epoch} epochs, and an epoch has {length} steps now: batch size, "
            f"number of processes or data changed, and what counts steps goes on from {steps}"
        )


def _leave_out_other_best(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Take the best figure so far out of a checkpoint if it is of another name than the one that is watched now."""
    info = (checkpoint.get("message_hub") or {}).get("runtime_info")
    if not isinstance(info, dict) or not info.get("best_ckpt"):
        return
    for hook in runner.hooks:
        watched = getattr(hook, "save_best", None) if isinstance(hook, CheckpointHook) else None
        if not watched or len(watched) != 1 or watched[0] == "auto":
            continue
        best = Path(str(info["best_ckpt"])).name
        if not best.startswith(f"best_{watched[0].replace('/', '_')}_"):
            runner.logger.warning(
                f"{best} is the best by another figure than save_best={watched[0]!r}: the best is judged anew"
            )
            for key in ("best_ckpt", "best_score"):
                info.pop(key, None)
