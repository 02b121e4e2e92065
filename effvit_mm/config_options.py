"""Values of a config on a command line, with words for what cannot be read."""

import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

# A dict, alone or in a list: MMEngine takes it for text, or loses itself in it.
A_DICT = re.compile(r"(^|[\[(,])(dict\(|\{(['\"]?\w+['\"]?:|\}))")


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
                raise ArgumentError(
                    self,
                    f"{key}={value} cannot be read, expected a number, True, False, None, text, a list [a,b] or a "
                    f"tuple (a,b); a dict has no form here, set its values one by one: {key}.name=3 {key}.other=text",
                )
        super().__call__(parser, namespace, values, option_string)
