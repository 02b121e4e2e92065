"""What a library says of a value it cannot use, said with the value's place in the config.

MMEngine builds a run from its config piece by piece, and a wrong value fails somewhere inside a constructor. The frames
of the exception know which piece of the config was being built, so the message can begin with its path. Only that is
explained: an exception in code of our own stays what it is, a bug, unless it is a ``ValueError`` about an argument.
"""

import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, FileHandler, LogRecord
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import Registry, build_from_cfg
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop

from effvit_mm.engine.dead_worker import LOST, WorkerDiedError, explain_dead_worker
from effvit_mm.engine.explain_sample import (
    EXPLAINED,
    explain_sample,
    frames_of,
    from_worker,
    hint_of_tuples,
    place_of,
    said_by,
)
from effvit_mm.engine.types_of_ours import how_to_register
from effvit_mm.errors import BadInputError, MendableError
from effvit_mm.registry import near_names

OURS = str(Path(__file__).parents[1])
# Methods of MMEngine's Runner that read one section of the config without building a class from it.
SECTIONS = {
    "setup_env": "env_cfg",
    "set_randomness": "randomness",
    "build_logger": "log_level",
    "build_visualizer": "visualizer",
    "build_model": "model",
    "wrap_model": "model_wrapper_cfg",
    "build_optim_wrapper": "optim_wrapper",
    "build_param_scheduler": "param_scheduler",
    "_check_scheduler_cfg": "param_scheduler",
    "build_train_loop": "train_cfg",
    "build_val_loop": "val_cfg",
    "build_test_loop": "test_cfg",
    "build_evaluator": "val_evaluator or test_evaluator",
    "build_log_processor": "log_processor",
    "register_default_hooks": "default_hooks",
    "register_custom_hooks": "custom_hooks",
    "scale_lr": "auto_scale_lr",
}


@contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Turn exceptions that values of a config raise into messages that name the value's place in it.

    Args:
        cfg: The config of the run that is built and started inside.

    Raises:
        BadInputError: Instead of what the library raised, which stays chained to it.
        WorkerDiedError: If a process that loads data is gone.
    """
    try:
        yield
    except MendableError as error:
        plain = from_worker(str(error))
        if plain == str(error):
            raise
        raise type(error)(plain) from error
    except (*EXPLAINED, *LOST) as error:
        frames = frames_of(error)
        death = explain_dead_worker(error, frames, cfg)
        if death is not None:
            raise WorkerDiedError(death + _write_to_log(error)) from error
        message = _explain(error, frames, cfg) if isinstance(error, EXPLAINED) else None
        if message is None:
            raise
        raise BadInputError(message + _write_to_log(error)) from error


def _write_to_log(error: Exception) -> str:
    """Write the whole traceback to the log file of the run, and say where; nothing before there is a log file."""
    logs = [handler for handler in MMLogger.get_current_instance().handlers if isinstance(handler, FileHandler)]
    for handler in logs:
        lines = "".join(traceback.format_exception(error))
        handler.handle(LogRecord("mmengine", ERROR, __file__, 0, lines, None, None))
    return f"\nThe traceback is in {logs[0].baseFilename}" if logs else ""


def _explain(error: Exception, frames: list[FrameType], cfg: Config) -> str | None:
    """Say what is wrong with the config, or None if it is not the config's fault."""
    said = said_by(error)
    if _is_a_bug_of_ours(error, frames) or isinstance(error, torch.OutOfMemoryError):
        return None
    sample = explain_sample(error)
    if sample:
        return sample
    lacking = _lacking_key(error, frames, cfg)
    if lacking:
        return lacking
    if any(frame.f_code.co_name == "resume" and _is_runners(frame) for frame in frames):
        return (
            f"{cfg.load_from} cannot be resumed under this config ({_kind(error)}{said}); resume with the config that "
            f"wrote it, or take its weights alone: load_from={str(cfg.load_from)!r} without --resume"
        )
    for frame in reversed(frames):
        if frame.f_code is build_from_cfg.__code__:
            return _explain_building(error, said, frames, frame, cfg)
        if not _is_runners(frame):
            continue
        if frame.f_code.co_name == "build_dataloader":
            section = path_of(cfg, frame.f_locals["dataloader"])
            return f"{section} cannot be built ({_kind(error)}{said}); correct its arguments"
        if frame.f_code.co_name in SECTIONS:
            section = SECTIONS[frame.f_code.co_name]
            value = _short(cfg.get(section))
            return f"{section} is {value} and cannot be used ({_kind(error)}{said}); correct or remove it"
    return _explain_first_batch(error, said, frames, cfg)


def _explain_building(error: Exception, said: str, frames: list[FrameType], built: FrameType, cfg: Config) -> str:
    """Say which piece of the config could not be built, and for want of what."""
    spec, cls, registry = (built.f_locals.get(name) for name in ("cfg", "obj_cls", "registry"))
    path = path_of(cfg, spec)
    if cls is None and isinstance(spec, dict) and isinstance(registry, Registry):
        kind = spec.get("type")
        if not isinstance(kind, str):
            return f"{path} is {_short(spec)}, expected a dict with the type of a {registry.name}, type='...'"
        return f"{path}.type={kind!r} is not a registered {registry.name}; {how_to_register(kind, names_in(registry))}"
    if not isinstance(spec, dict):
        return f"{path} is {_short(spec)}, expected dict(type='...'): {said}"
    values = ", ".join(f"{key}={_short(value)}" for key, value in spec.items() if not str(key).startswith("_"))
    unknown = re.search(r"unexpected keyword argument '(\w+)'", said)
    if unknown:
        known = near_names(unknown[1], arguments_of(cls) - {unknown[1]})
        return f"{path}: {spec.get('type')} takes no argument {unknown[1]!r}; {known}"
    place = place_of(frames)
    remedy = hint_of_tuples(said, spec) or f"; correct its values: {values[:600]}"
    return f"{path} cannot be built ({_kind(error)}{said}; {place}){remedy}"


def _explain_first_batch(error: Exception, said: str, frames: list[FrameType], cfg: Config) -> str | None:
    """Say in which piece of the config a run broke before it had done anything: on its first batch.

    What comes later was not in the config from the start, and is no matter of it.
    """
    loops = [frame for frame in frames if isinstance(frame.f_locals.get("self"), BaseLoop)]
    if not loops or not _is_first(loops[-1]):
        return None
    for frame in reversed(frames):
        name = type(frame.f_locals.get("self")).__name__
        paths = [path for path, spec in _dicts(cfg) if spec.get("type") == name]
        if paths:
            return (
                f"{' or '.join(paths[:3])} ({name}) breaks {_moment(loops[-1])} ({_kind(error)}{said[:600]}; "
                f"{place_of(frames)}): one of its values, or of what feeds it, does not fit; correct the config"
            )
    return None


def _moment(frame: FrameType) -> str:
    """Say when a loop broke of which :func:`_is_first` is true."""
    loop = frame.f_locals["self"]
    if isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
        return "on the first batch"
    what = "test" if isinstance(loop, TestLoop) else "validation"
    return f"on the first batch of the {what}" if frame.f_code.co_name == "run_iter" else f"in the {what}"


def _is_first(frame: FrameType) -> bool:
    """Tell whether a loop is at its first batch, or done with all of them and measuring."""
    loop = frame.f_locals["self"]
    if frame.f_code.co_name == "run" and not isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
        return True
    return frame.f_locals.get("idx", 0) == 0 and getattr(loop, "_iter", 0) == 0


def _lacking_key(error: Exception, frames: list[FrameType], cfg: Config) -> str | None:
    """Say which dict of the config a library looked in for a key that is not there."""
    frame = frames[-1]
    spec = frame.f_locals.get("self")
    if frame.f_globals.get("__name__") != "mmengine.config.config" or not isinstance(spec, dict):
        return None
    missing = frame.f_locals.get("name", frame.f_locals.get("key"))
    return f"{path_of(cfg, spec)} lacks {missing!r}; {near_names(missing, map(str, spec))}"


def path_of(cfg: Config, spec: Any) -> str:
    """Return the dotted path of a piece of a config; the most similar of its type where a library has changed it."""
    if not isinstance(spec, dict):
        paths = [path for path, value in _values(cfg) if value is spec or (value == spec and type(value) is type(spec))]
        return paths[0] if paths else f"a value of the config, {_short(spec)},"

    def likeness(candidate: dict) -> int:
        return sum(key in spec and spec[key] == value for key, value in candidate.items()) - (candidate != spec)

    of_type = [(path, value) for path, value in _dicts(cfg) if value.get("type") == spec.get("type")]
    ranked = sorted(of_type, key=lambda entry: likeness(entry[1]), reverse=True)
    if not ranked or ("type" not in spec and likeness(ranked[0][1]) < 0):
        return f"a dict of the config, {_short(dict(spec))},"
    return ranked[0][0]


def arguments_of(cls: Any) -> set[str]:
    """Return the names of the arguments that a class takes, those it hands on to its parents included."""
    names: set[str] = set()
    for owner in cls.__mro__ if isinstance(cls, type) else (cls,):
        function = vars(owner).get("__init__") if isinstance(cls, type) else owner
        if not inspect.isfunction(function):
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {parameter.name for parameter in parameters if not parameter.kind.name.startswith("VAR")}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names - {"self"}


def _values(cfg: Config) -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, Any]] = [("", cfg._cfg_dict)]
    while waiting:
        path, value = waiting.pop(0)
        if path:
            yield path, value
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
        waiting += [(f"{path}.{key}".lstrip("."), child) for key, child in items]


def _dicts(cfg: Config) -> Iterator[tuple[str, dict]]:
    return ((path, value) for path, value in _values(cfg) if isinstance(value, dict))


def names_in(registry: Registry) -> set[str]:
    """Return the names that a registry knows, its parents' included."""
    names = set(registry.module_dict)
    return names | (names_in(registry.parent) if registry.parent is not None else set())


def _is_a_bug_of_ours(error: Exception, frames: list[FrameType]) -> bool:
    # The training loop is built in a line of ours, from the config's arguments.
    ours = frames[-1].f_code.co_filename.startswith(OURS) and frames[-1].f_code.co_name != "build_train_loop"
    return ours and type(error) is not ValueError


def _is_runners(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in ("mmengine.runner.runner", "effvit_mm.engine.runner")


def _kind(error: Exception) -> str:
    return f"{type(error).__name__}: "


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
