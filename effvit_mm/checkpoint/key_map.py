"""What the key map of a released format returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Renamed:
    """Weights under our names.

    Attributes:
        weights: By our name, the name in the source and the value.
        dropped: By name in the source, why it has no place.
        unexpected: By name in the source, what is odd about it.
        overrides: Constructor arguments that the weights need beside the variant.
        made: By our name, what a weight was made from that the source lacks.
    """

    weights: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)


KeyMap = Callable[[Mapping[str, Tensor], str, str], Renamed]
"""``(weights, variant, task) -> Renamed``; a weight may be of any shape, the network judges that."""


def num_rows(weights: Mapping[str, Tensor], name: str) -> int | None:
    """Return the number of rows of a matrix; None where there is none of this name, or it is no matrix."""
    matrix = weights.get(name)
    return matrix.shape[0] if matrix is not None and matrix.ndim == 2 else None
