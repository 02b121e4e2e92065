"""The ledger: what every operator of every layer cost, and sums over it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from effvit_mm.analysis.operators import TOTAL_LINES, UNKNOWN


@dataclass
class Cost:
    """What some calls cost together.

    Attributes:
        calls: How often operators ran.
        macs: Multiply-adds.
        bytes_read: Bytes of the tensors they read, weights included.
        bytes_written: Bytes of the tensors they wrote: the activations.
    """

    calls: int = 0
    macs: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def add(self, other: "Cost") -> None:
        """Add another cost to this one."""
        self.calls += other.calls
        self.macs += other.macs
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written


@dataclass
class Ledger:
    """Costs of one forward pass of a module.

    Attributes:
        entries: Costs by layer (its dotted name, ``''`` for the whole), line and operator.
        layer_types: Class of each layer, in the order of the module.
        layer_params: Parameters of each layer, with those of its children.
    """

    entries: dict[tuple[str, str, str], Cost] = field(default_factory=dict)
    layer_types: Mapping[str, str] = field(default_factory=dict)
    layer_params: Mapping[str, int] = field(default_factory=dict)

    def record(self, layer: str, line: str, operator: str, cost: Cost) -> None:
        """Enter the cost of one call."""
        self.entries.setdefault((layer, line, operator), Cost()).add(cost)

    @property
    def params(self) -> int:
        """Parameters of the module, each counted once."""
        return self.layer_params.get("", 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of matrix products, convolutions and attention: the figure that papers give."""
        return sum(cost.macs for line, cost in self.by_line().items() if line in TOTAL_LINES)

    @property
    def flops(self) -> int:
        """The same in operations: a multiplication and an addition are two."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Bytes of all tensors that operators wrote."""
        return sum(cost.bytes_written for cost in self.entries.values())

    def by_line(self) -> dict[str, Cost]:
        """Costs by line, those of the total first, each group by falling multiply-adds and bytes."""
        sums = self._sums(lambda layer, line, operator: line)
        return dict(sorted(sums.items(), key=lambda pair: (pair[0] not in TOTAL_LINES, *_falling(pair[1]))))

    def by_operator(self) -> dict[tuple[str, str], Cost]:
        """Costs by line and name of the operator, in the same order."""
        sums = self._sums(lambda layer, line, operator: (line, operator))
        return dict(sorted(sums.items(), key=lambda pair: (pair[0][0] not in TOTAL_LINES, *_falling(pair[1]))))

    def by_layer(self, depth: int | None = None) -> dict[str, Cost]:
        """Costs of the total's lines, bytes and calls of all, of each layer with its children.

        Args:
            depth: Names of at most so many parts, such as 2 for ``stages.0``; None for all.

        Returns:
            Costs by dotted name, in the order of the module; layers that no operator ran in are left out.
        """
        sums: dict[str, Cost] = {}
        for (layer, line, _), cost in self.entries.items():
            counted = cost if line in TOTAL_LINES else Cost(cost.calls, 0, cost.bytes_read, cost.bytes_written)
            for name in _prefixes(layer):
                sums.setdefault(name, Cost()).add(counted)
        return {
            name: sums[name]
            for name in self.layer_types
            if name in sums and (depth is None or not name or name.count(".") < depth)
        }

    def unknown(self) -> dict[str, float]:
        """Operators that no formula is known for, with their share of all calls: their cost is in no sum."""
        calls = sum(cost.calls for cost in self.entries.values())
        sums = self._sums(lambda layer, line, operator: operator if line == UNKNOWN else None)
        sums.pop(None, None)
        return {name: cost.calls / calls for name, cost in sorted(sums.items(), key=lambda pair: -pair[1].calls)}

    def _sums(self, key: Any) -> dict[Any, Cost]:
        sums: dict[Any, Cost] = {}
        for place, cost in self.entries.items():
            sums.setdefault(key(*place), Cost()).add(cost)
        return sums


def _falling(cost: Cost) -> tuple[int, int]:
    return -cost.macs, -cost.bytes_written


def _prefixes(layer: str) -> Iterator[str]:
    yield ""
    parts = layer.split(".") if layer else []
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
