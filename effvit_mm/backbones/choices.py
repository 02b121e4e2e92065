"""What both assemblies are told in the same way: mechanisms by name, one for all places or one for each."""

from collections.abc import Mapping
from typing import Any

Spec = str | Mapping[str, Any]
"""A mechanism: its name, or a dict of ``type`` and options."""


def one_for_each(argument: str, value: Any, count: int, places: str) -> tuple[Any, ...]:
    """Return one value for each place; a single name, dict or None stands for all.

    Args:
        argument: What the value was given as, for the error.
        value: A name, a dict, None, or a sequence.
        count: How many places there are.
        places: What they are: ``'blocks'``, ``'stages'``.

    Raises:
        ValueError: If a sequence is shorter or longer.
    """
    if value is None or isinstance(value, str | Mapping):
        return (value,) * count
    if len(value) != count:
        raise ValueError(f"{argument}={value!r} has {len(value)} values; give one for each of {count} {places}")
    return tuple(value)


def check_drop_path_rate(rate: float) -> None:
    """Refuse a stochastic depth that is no probability, or drops everything.

    Raises:
        ValueError: If ``rate`` is not at least 0 and below 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path_rate={rate} must be at least 0 and below 1")
