"""Released weights in the layout of this package, with an account of every name.

A format is a function of :data:`KEY_MAPS` that renames; what it renames is then held against the network itself: a
conversion either fits in every name and shape, or is refused.
"""

import argparse
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from effvit_mm.backbones import create_backbone, create_classifier
from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.checkpoint.anchor_deit_keys import rename_anchor_deit
from effvit_mm.checkpoint.anchor_start import AnchorStart
from effvit_mm.checkpoint.anchor_start_keys import with_anchors
from effvit_mm.checkpoint.deit_keys import rename_deit
from effvit_mm.checkpoint.key_map import KeyMap, Renamed
from effvit_mm.checkpoint.lit_keys import rename_lit
from effvit_mm.checkpoint.reduced_keys import rename_reduced_deit
from effvit_mm.checkpoint.released import ReleasedWeights, problem_of, shown, unwrap
from effvit_mm.checkpoint.safe_load import load_safely
from effvit_mm.checkpoint.tosa_keys import rename_tosa_deit
from effvit_mm.errors import BadInputError
from effvit_mm.registry import BACKBONES, near_names

Task = Literal["classifier", "backbone"]

KEY_MAPS: dict[str, KeyMap] = {
    "anchor_deit": rename_anchor_deit,
    "deit": rename_deit,
    "lit": rename_lit,
    "reduced_deit": rename_reduced_deit,
    "tosa_deit": rename_tosa_deit,
}
"""The released formats, by family of backbones."""

_DENSE_PARTS = ("norms", "pyramid")
# No released weights have selectors or reducers.
_NEW_PARTS = ("selections", "reducers")
_NO_PLACE = "another name of the source has its place"


@dataclass
class ConversionReport:
    """What became of every name.

    Attributes:
        matched: Names of the source, by ours, that fit.
        dropped: Why a name of the source, or some of its rows, has no place in the network, what is no tensor included.
        made: By our name, what a weight was made from that the source lacks: anchors, a second token.
        fresh: Our names that the source lacks and that start as in a new network: norms and resampling of dense maps.
        missing: Our names that the source should have and does not.
        unexpected: What the source has and the format does not know, or has in another shape, of another kind or with
            values that are no numbers, and how.
    """

    matched: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: dict[str, str] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether nothing is missing or unexpected."""
        return not self.missing and not self.unexpected


class ConversionError(BadInputError):
    """Weights that do not fit the network they are said to be of; ``report`` has every name."""

    def __init__(self, message: str, report: ConversionReport) -> None:
        super().__init__(message)
        self.report = report


class ConvertedWeights(OrderedDict[str, Tensor]):
    """A state dict that loads with ``strict=True``, and what there is to know about it.

    Attributes:
        overrides: Constructor arguments of the network, beside its name, that these weights need.
        report: What became of every name.
        source: The file they come from, if any.
    """

    source: Path | None = None
    overrides: dict[str, Any]
    report: ConversionReport


def convert_state_dict(
    state_dict: Mapping[str, Any], name: str, task: Task = "classifier", *, anchors: AnchorStart | None = None
) -> ConvertedWeights:
    """Turn released weights into those of :func:`create_classifier` or :func:`create_backbone`.

    Args:
        state_dict: What the released file holds: weights by name, bare, or under ``model`` or ``state_dict``; those of
            a detector or segmenter have the prefix ``backbone.``.
        name: One of :func:`effvit_mm.list_backbones` whose family has released weights, such as ``'lit_s'``.
        task: ``'classifier'``, with the head; or ``'backbone'``, for dense prediction: what stands on its outputs
            (norms, a simple pyramid) and the source lacks is added fresh, the same in each run, and reported.
        anchors: For DeiT's weights to a network ``anchor_deit_*``: how its anchors are found.

    Returns:
        The weights, in the network's precision; ``create_classifier(name, **weights.overrides)`` takes them, strictly.

    Raises:
        ConversionError: If a name is missing or unexpected, a shape differs, or a value is no finite number.
        BadInputError: If ``name`` or ``task`` is unknown, the file holds no weights, or some that no network of this
            name can have; if ``anchors`` is missing or out of place, or its pictures cannot be used.
    """
    if task not in ("classifier", "backbone"):
        raise BadInputError(f"task={task!r} must be 'classifier' or 'backbone'")
    key_map, variant = _find_key_map(name)
    released = unwrap(state_dict)
    source = released.tensors
    dense = any(key.startswith("backbone.") for key in source)
    inside = {key.removeprefix("backbone."): value for key, value in source.items() if key.startswith("backbone.")}
    key_map = with_anchors(key_map, inside if dense else source, name, anchors)
    renamed = key_map(inside if dense else source, variant, task)
    report = ConversionReport(dict(), dict(renamed.dropped), dict(renamed.made), unexpected=dict(renamed.unexpected))
    if dense:
        report.dropped.update({key: "not the backbone's" for key in source if not key.startswith("backbone.")})
    weights = _fit(renamed, _network(name, task, renamed.overrides), task, report)
    _account_for_the_rest(report, released, inside if dense else source)
    if not report.fits:
        raise ConversionError(_refusal(name, task, report), report)
    weights.overrides, weights.report = renamed.overrides, report
    if anchors is not None:
        made = anchors.apply(_network(name, task, renamed.overrides), weights)
        report.made.update(made)
        report.matched = {ours: theirs for ours, theirs in report.matched.items() if not ours.endswith(".anchors")}
    return weights


def convert_file(
    source: str | Path, name: str, task: Task = "classifier", *, anchors: AnchorStart | None = None
) -> ConvertedWeights:
    """Convert a file; as :func:`convert_state_dict`. Nothing the file brings along is run.

    Raises:
        BadInputError: As :func:`convert_state_dict`, or if the file is missing, cut off, asks for code, or has names
            and shapes without values.
    """
    source = Path(source)
    if not source.is_file():
        raise BadInputError(f"{source} does not exist or is no file; give the path of a released .pth or .safetensors")
    # The official training codes store their options beside the weights: plain values in these two containers.
    torch.serialization.add_safe_globals([argparse.Namespace, _YacsNode])
    weights = convert_state_dict(load_safely(source), name, task, anchors=anchors)
    if empty := [theirs for ours, theirs in weights.report.matched.items() if weights[ours].is_meta]:
        raise BadInputError(f"{source} holds no values for {shown(empty[0])} (it is on the meta device); save it anew")
    weights.source = source
    return weights


def _find_key_map(name: str) -> tuple[KeyMap, str]:
    known = {
        f"{family}_{variant}": (key_map, variant)
        for family, key_map in KEY_MAPS.items()
        for variant in BACKBONES[family].variants
    }
    if name not in known:
        raise BadInputError(f"no released weights are known for {name!r}; {near_names(name, known)}")
    return known[name]


def _network(name: str, task: Task, overrides: Mapping[str, Any]) -> nn.Module:
    """Build the network without memory for its weights: its names and shapes are all that is asked for."""
    create = create_classifier if task == "classifier" else create_backbone
    try:
        with torch.device("meta"):
            return create(name, **overrides)
    except ValueError as error:  # an override, as the variant's own values are sound
        given = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
        raise BadInputError(
            f"the sizes of its weights ask for a {name} with {given}, which there cannot be: {error}. Give the name "
            f"the file was released for; if it is that one, the file was changed: download it again"
        ) from error


def _fit(renamed: Renamed, network: nn.Module, task: Task, report: ConversionReport) -> ConvertedWeights:
    """Lay the renamed weights out in the network's order; what does not fit goes into the report."""
    weights, fresh = ConvertedWeights(), _fresh_values(network, task)
    for ours, expected in network.state_dict().items():
        if ours in renamed.weights:
            theirs, value = renamed.weights[ours]
            if problem := problem_of(value, expected, ours):
                report.unexpected[theirs] = problem
                continue
            report.matched[ours] = theirs
            weights[ours] = value.to(expected.dtype)
        elif ours in fresh:
            report.fresh.append(ours)
            weights[ours] = fresh[ours]
        else:
            report.missing.append(ours)
    for ours in renamed.weights.keys() - network.state_dict().keys():
        report.unexpected[renamed.weights[ours][0]] = f"the network has no {ours}"
    return weights


def _account_for_the_rest(report: ConversionReport, released: ReleasedWeights, renamed: Mapping[str, Tensor]) -> None:
    """Report every name of the source that the key map and the network have said nothing about."""
    report.unexpected.update(released.odd)
    # Options may lie beside bare weights; where a weight is missing, one of them may stand in its place.
    (report.unexpected if report.missing else report.dropped).update(released.others)
    told = {part for theirs in report.matched.values() for part in theirs.split(" + ")}
    told |= report.dropped.keys() | {part for theirs in report.unexpected for part in theirs.split(" + ")}
    report.unexpected.update(dict.fromkeys(renamed.keys() - told, _NO_PLACE))


def _fresh_values(network: nn.Module, task: Task) -> dict[str, Tensor]:
    """Draw the parts that no released network has, and those that dense prediction adds to one."""
    values = {}
    prefix, parts = ("backbone.", _NEW_PARTS) if task == "classifier" else ("", (*_DENSE_PARTS, *_NEW_PARTS))
    backbone = getattr(network, "backbone", network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in parts:
            part = getattr(backbone, name, nn.Module()).to_empty(device="cpu")
            initialize_weights(part)
            values.update({f"{prefix}{name}.{ours}": value for ours, value in part.state_dict().items()})
    return values


def _refusal(name: str, task: Task, report: ConversionReport) -> str:
    examples = [f"lacks {ours}" for ours in report.missing[:3]]
    examples += [f"{shown(theirs)} {why}" for theirs, why in list(report.unexpected.items())[:3]]
    own = [ours for ours in report.missing if {ours, f"backbone.{ours}"} & report.unexpected.keys()]
    mend = (
        "the names are this package's own: such a file needs no conversion, give it as it is to init_cfg or load_from"
        if 2 * len(own) > len(report.missing)
        else "give the variant and the task the file was released for; if they are right, the file was changed: "
        "download it again"
    )
    return (
        f"these are no weights of the {task} {name}: {len(report.missing)} names missing, {len(report.unexpected)} "
        f"unexpected:\n  " + "\n  ".join(examples) + f"\n{mend}"
    )


class _YacsNode:
    """Reads a pickled node of yacs as the dict that it is."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


_YacsNode.__module__, _YacsNode.__qualname__, _YacsNode.__name__ = "yacs.config", "CfgNode", "CfgNode"
