"""Count what a module costs by watching every operator it calls pass torch's dispatcher."""

import copy
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from effvit_mm.analysis.ledger import Cost, Ledger
from effvit_mm.analysis.operators import (
    ATTENTION,
    CREATION,
    FORMULAS,
    FREE,
    GATHERS,
    LINEAR,
    MATMUL,
    UNKNOWN,
    attention_macs,
)

POINTWISE = torch.Tag.pointwise


def count(module: nn.Module, *args: Any, **kwargs: Any) -> Ledger:
    """Count one forward pass in evaluation mode, without gradients.

    The pass runs on tensors without data where the module allows it: it costs no time and no memory at any picture
    size, and gives the same counts. A module whose path depends on its data (a detector's non-maximum suppression) is
    run for real.

    Args:
        module: Any module; it is left as it was.
        *args: Arguments of its forward.
        **kwargs: Keyword arguments of its forward.

    Returns:
        The ledger.

    Raises:
        Exception: Whatever the forward pass raises.
    """
    try:
        return _count_without_data(module, args, kwargs)
    except Exception:  # tensors without data fail in many ways, and what is wrong with the call shows below
        return _count_run(module, args, kwargs)


@contextmanager
def counting(module: nn.Module) -> Iterator[Ledger]:
    """Count every operator that runs inside the block; those of ``module`` by its layers.

    Args:
        module: The module whose layers the ledger names.

    Yields:
        The ledger, which grows as operators run.
    """
    names = {id(child): name for name, child in module.named_modules()}
    ledger = Ledger(
        layer_types={name: type(child).__name__ for name, child in module.named_modules()},
        layer_params={name: sum(p.numel() for p in child.parameters()) for name, child in module.named_modules()},
    )
    tracker = _LayerTracker(names)
    with ExitStack() as stack:
        for child in module.modules():
            for handle in tracker.follow(child):
                stack.callback(handle.remove)
        mode = _CountingMode(ledger, tracker)
        for child in filter(_passes_dispatch_by, module.modules()):
            stack.callback(child.register_forward_pre_hook(mode.enter_unseen).remove)
        stack.enter_context(_without_fused_encoder())
        stack.enter_context(_without_compiling())
        stack.enter_context(mode)
        stack.enter_context(_AttentionMode(mode))
        yield ledger


def _count_run(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Ledger:
    training = {child: child.training for child in module.modules()}
    # Some networks of OpenMMLab return nothing from `eval()`.
    module.eval()
    try:
        with torch.no_grad(), counting(module) as ledger:
            module(*args, **kwargs)
    finally:
        for child, mode in training.items():
            child.training = mode
    return ledger


def _count_without_data(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Ledger:
    # Real constants made in the module (tables, anchors) may meet tensors without data.
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)

    def without_data(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        fake = fake_mode.from_tensor(value.detach())
        return nn.Parameter(fake, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else fake

    # A copy: what a module keeps between calls must never be a tensor without data.
    tensors = [*module.parameters(), *module.buffers()]
    module = copy.deepcopy(module, {id(tensor): without_data(tensor) for tensor in tensors})
    with fake_mode:
        return _count_run(module, tree_map(without_data, args), tree_map(without_data, kwargs))


@contextmanager
def _without_fused_encoder() -> Iterator[None]:
    """Keep torch's transformer layers from one fused operator that would hide what they are made of."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _without_compiling() -> Iterator[None]:
    """Run compiled parts operator by operator, and flex_attention, which compiles itself, as one; torch from 2.6 on."""
    # The first call takes a second, and nothing compiles where neither of these has been imported.
    compiles = bool({"torch._dynamo", "torch.nn.attention.flex_attention"} & sys.modules.keys())
    set_stance = getattr(torch.compiler, "set_stance", None)
    with set_stance("force_eager") if compiles and set_stance else nullcontext(), warnings.catch_warnings():
        # That it is slow so: nothing is timed here.
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        yield


def _passes_dispatch_by(module: nn.Module) -> bool:
    """Whether the module's work is a compiled operator of mmcv, which torch's dispatcher never sees."""
    compiled = getattr(sys.modules.get("mmcv._ext"), "__file__", None) is not None
    return compiled and type(module).__module__.startswith("mmcv.ops")


class _LayerTracker:
    """Knows the layer that runs."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.running: list[nn.Module] = []

    def follow(self, module: nn.Module) -> Iterator[Any]:
        yield module.register_forward_pre_hook(lambda module, args: self.running.append(module), prepend=True)
        yield module.register_forward_hook(lambda module, args, output: self._leave(), always_call=True)

    @property
    def layer(self) -> str:
        return self.names[id(self.running[-1])] if self.running else ""

    @property
    def in_linear(self) -> bool:
        return bool(self.running) and isinstance(self.running[-1], nn.Linear)

    def _leave(self) -> None:
        self.running.pop()


class _AttentionMode(TorchFunctionMode):
    """Enters fused attention by its shapes, whatever operators its backend is made of here."""

    def __init__(self, mode: "_CountingMode") -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention:
            return func(*args, **kwargs)
        names = ("query", "key", "value")
        shapes = [(args[i] if i < len(args) else kwargs[name]).shape for i, name in enumerate(names)]
        self.mode.enter(ATTENTION, "scaled_dot_product_attention", Cost(macs=attention_macs(*shapes)))
        self.mode.in_attention += 1
        try:
            return func(*args, **kwargs)
        finally:
            self.mode.in_attention -= 1


class _CountingMode(TorchDispatchMode):
    """Enters every operator in the ledger."""

    supports_higher_order_operators = True

    def __init__(self, ledger: Ledger, tracker: _LayerTracker) -> None:
        super().__init__()
        self.ledger = ledger
        self.tracker = tracker
        self.in_attention = 0

    def enter(self, line: str, operator: str, cost: Cost) -> None:
        self.ledger.record(self.tracker.layer, line, operator, cost)

    def enter_unseen(self, module: nn.Module, args: Any) -> None:
        self.enter(UNKNOWN, f"mmcv.ops.{type(module).__name__}", Cost(calls=1))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().partition(".")[0]
        if name not in FORMULAS and name not in FREE and isinstance(func, torch._ops.OpOverload):
            # In inference mode composite operators arrive whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if name not in FREE and not _is_view(func):
            self._record(func, name, args, kwargs, result)
        return result

    def _record(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = sum(map(_num_bytes, outputs))
        cost = Cost(1, 0, written if name in GATHERS else sum(map(_num_bytes, inputs)), written)
        if self.in_attention:
            self.enter(ATTENTION, name, cost)
            return
        formula = FORMULAS.get(name)
        if formula is None:
            self.enter("element-wise" if _is_pointwise(func) else UNKNOWN, name, cost)
            return
        # Calls and bytes belong to the first line of an operator that has several.
        for line, macs in formula(_arguments(func, args, kwargs), outputs).items():
            cost.macs = macs
            cost.bytes_read *= line != CREATION
            self.enter(LINEAR if line == MATMUL and self.tracker.in_linear else line, name, cost)
            cost = Cost()


def _arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults included."""
    if not isinstance(func, torch._ops.OpOverload):
        # An operator of higher order, such as flex_attention, has a signature in place of a schema.
        return dict(inspect.signature(func.__call__).bind(*args, **kwargs).arguments)
    named = {}
    for i, argument in enumerate(func._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        named[argument.name] = args[i] if i < len(args) else kwargs.get(argument.name, default)
    return named


def _is_view(func: Any) -> bool:
    """Whether the operator returns its input's memory and writes nothing."""
    returns = func._schema.returns if isinstance(func, torch._ops.OpOverload) else ()
    return bool(returns) and all(value.alias_info is not None and not value.alias_info.is_write for value in returns)


def _is_pointwise(func: Any) -> bool:
    if not isinstance(func, torch._ops.OpOverload):
        return False
    if POINTWISE in func.tags:
        return True
    # In-place forms lack the tag that their plain forms have.
    plain = getattr(torch.ops.aten, func._schema.name.removeprefix("aten::").rstrip("_"), None)
    return plain is not None and any(POINTWISE in getattr(plain, overload).tags for overload in plain.overloads())


def _num_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor; a broadcast one takes those of its storage."""
    if tensor.layout is not torch.strided:
        return 0
    places = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places *= size if stride else min(size, 1)
    return places * tensor.element_size()
