"""Values of a config on a command line, with words for what cannot be read."""

import ast
import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

# A dict, alone or in a list: MMEngine takes it for text, or loses itself in it.
A_DICT = re.compile(r"(^|[\[(,])(dict\(|\{(['\"]?\w+['\"]?:|\}))")

# What stands for a dict in a config whose base has no dict there.
REPLACEMENT = "dict({}, _delete_=True)"


class ConfigOptions(DictAction):
    """``--cfg-options``: words such as ``key.of.value=3``, read as MMEngine reads them.

    A word that it cannot read ends the tool as any wrong argument does, and not in a traceback.
    """

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
