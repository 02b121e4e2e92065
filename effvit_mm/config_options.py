"""Values of a config on a command line, with words for what cannot be read or has no place in it."""

import ast
import inspect
import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names

# A dict, alone or in a list: MMEngine takes it for text, or loses itself in it.
A_DICT = re.compile(r"(^|[\[(,])(dict\(|\{(['\"]?\w+['\"]?:|\}))")

# Text in quotes that is a whole value, or a whole entry of a list.
QUOTED = re.compile(r"""(?:^|(?<=[,\[(\s]))(['"])(?![\[(])(.*?)\1(?=$|[,\])\s])""")
# Spaces inside a text; those around commas and brackets are for the eye.
INNER_SPACE = re.compile(r"(?<=[^\s,\[(])\s+(?=[^\s,\])])")
# What MMEngine takes out of a text, or divides it at, and the private characters that stand for it meanwhile.
KEPT = dict(zip(" ,()[]", "\ue000\ue001\ue002\ue003\ue004\ue005", strict=True))
HIDE, SHOW = str.maketrans(KEPT), str.maketrans({hidden: char for char, hidden in KEPT.items()})

# What stands for a dict in a config whose base has no dict there.
REPLACEMENT = "dict({}, _delete_=True)"


class ConfigOptions(DictAction):
    """``--cfg-options``: words such as ``key.of.value=3``, read as MMEngine reads them.

    A word that it cannot read ends the tool as any wrong argument does, and not in a traceback. Text keeps its spaces,
    which MMEngine takes out, and text in quotes its commas and brackets.
    """

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        hidden = QUOTED.sub(lambda found: found[2].translate(HIDE), val.strip())
        hidden = INNER_SPACE.sub(lambda found: found[0].translate(HIDE), hidden)
        return _map_text(DictAction._parse_iterable(hidden), lambda text: text.translate(SHOW))

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add words to those that the command line had before."""
        for word in [values] if isinstance(values, str) else values or ():
            key, separator, value = word.partition("=")
            if not separator or not key:
                raise ArgumentError(
                    self,
                    f"{word!r} is no value of the config, expected key.of.value=3 (a config or another file is named "
                    f"before --cfg-options)",
                )
            try:
                readable = not A_DICT.search(value.strip("'\"").replace(" ", ""))
                self._parse_iterable(value)
            except (ValueError, AssertionError, RecursionError):
                readable = False
            if not readable:
                whole = in_own_config(getattr(namespace, "config", None), key, _replacement(value))
                raise ArgumentError(
                    self,
                    f"{key}={value} cannot be read, expected a number, True, False, None, text, a list [a,b] or a "
                    f"tuple (a,b); a dict has no form here, set its values one by one: {key}.name=3 {key}.other=text. "
                    f"Where the config has no dict, {whole}",
                )
        super().__call__(parser, namespace, values, option_string)


def in_own_config(config: str | Path | None, path: str, value: str) -> str:
    """Say how a dict takes the place of something else: in a config of one's own, which these lines are.

    Args:
        config: The config file that it begins with; None if it is not known.
        path: Dotted path of the value.
        value: What is to be there, as Python.
    """
    section, *inner = path.split(".")
    if not all(name.isidentifier() for name in inner):
        return "a dict goes into a config of your own, with the whole list that it is in"
    for name in reversed(inner):
        value = f"dict({name}={value})"
    base = Path(config or "CONFIG.py")
    return (
        f"a dict goes into a config of your own, such as {base.with_name(base.stem.split('_')[0] + '_mine.py')}:\n"
        f"  _base_ = [{base.name!r}]\n"
        f"  {section} = {value}"
    )


def set_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Set values of a config by dotted key.

    Raises:
        BadInputError: If a key belongs to no section that the config has or a run knows, so that it would change
            nothing, or leads to no place in it.
    """
    # Tools that only count do not wait for it.
    from mmengine.runner import FlexibleRunner, Runner

    runners = (Runner, FlexibleRunner)
    arguments = {name for runner in runners for name in inspect.signature(runner.__init__).parameters}
    known = set(cfg) | arguments | {"custom_imports", "auto_scale_lr", "runner_type"}
    for path in options:
        section = str(path).split(".")[0]
        if section not in known:
            raise BadInputError(f"--cfg-options {path}: the config has no {section!r}; {near_names(section, known)}")
    for path, value in options.items():
        _set_option(cfg, path, value)


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    return type(value)(_map_text(entry, change) for entry in value) if isinstance(value, list | tuple) else value


def _set_option(cfg: Config, path: str, value: Any) -> None:
    value = _as_tuples(value, _value_at(cfg, path))
    try:
        cfg.merge_from_dict({path: value})
    except (LookupError, TypeError, AttributeError, AssertionError) as error:
        reason = _no_place(cfg, path, value) or (
            f"cannot be set ({error}); expected the path of a value of the config, with positions of lists as numbers"
        )
        raise BadInputError(f"--cfg-options {path}={value!r}: {reason}") from error


def _value_at(cfg: Config, path: str) -> Any:
    """Return what a config has at a dotted path; None where there is nothing."""
    node: Any = cfg._cfg_dict
    for name in path.split("."):
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list | tuple) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


def _as_tuples(value: Any, old: Any) -> Any:
    """Make a tuple of a list that takes the place of one: ``scale=160,120`` is read as a list, which Resize refuses."""
    if not isinstance(value, list) or not isinstance(old, list | tuple):
        return value
    within = old if len(old) == len(value) else list(old[:1]) * len(value)
    entries = [_as_tuples(entry, before) for entry, before in zip(value, within, strict=False)] or value
    return tuple(entries) if isinstance(old, tuple) else entries


def _no_place(cfg: Config, path: str, value: Any) -> str:
    """Say at which step the path of an option leaves the config; an empty string where it does not."""
    node: Any = cfg._cfg_dict
    names = path.split(".")
    for i, name in enumerate(names):
        place = ".".join(names[:i])
        if isinstance(node, list) and name.isdecimal():
            if int(name) >= len(node):
                return f"{place} has {len(node)} entries, expected a position from 0 to {len(node) - 1}"
            node = node[int(name)]
        elif isinstance(node, dict):
            node = node.get(name, ConfigDict())
        else:
            inner = "=dict(".join(names[i:]) + f"={value!r}" + ")" * (len(names) - i - 1)
            whole = in_own_config(cfg.filename, place, REPLACEMENT.format(inner))
            return f"{place} is {str(node)[:80]}, no dict with a value {name!r}; in its place {whole}"
    return ""


def _replacement(value: str) -> str:
    """Return a dict that was typed as one that takes the place of what a base says; its beginning if it is none."""
    try:
        node = ast.parse(value, mode="eval").body
        pairs = (
            {key.value: value for key, value in zip(node.keys, node.values, strict=True)}  # type: ignore[union-attr]
            if isinstance(node, ast.Dict)
            else {keyword.arg: keyword.value for keyword in node.keywords}  # type: ignore[attr-defined]
        )
        inner = [f"{name}={ast.unparse(value)}" for name, value in pairs.items() if name.isidentifier()]
        named = {part.id for value in pairs.values() for part in ast.walk(value) if isinstance(part, ast.Name)}
    except (SyntaxError, ValueError, AttributeError):
        return REPLACEMENT.format("...")
    readable = named <= {"dict"} and len(inner) == len(pairs)
    return REPLACEMENT.format(", ".join(inner) if readable and inner else "...")
