"""Released weights to convert: torn, changed, of another network, oddly wrapped; and places that take no file."""

import argparse
import functools
import os
import pickle
import types

import numpy as np
import torch
from reference.lit import PvtLike, SwinLike

from mutations import misspelt, mutation

SIZES = {
    "lit_ti": (PvtLike, (64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8), (8, 8, 4, 4)),
    "lit_s": (SwinLike, (96, 192, 384, 768), (2, 2, 6, 2), (3, 6, 12, 24), (4, 4, 4, 4)),
}
TABLES = ("pos_embed1", "pos_embed2", "pos_embed3", "pos_embed4")
# A backbone has no use for them, so they may be anything.
UNUSED = ("cls_token", "norm.", "head.")


class CfgNode(dict):
    """As yacs has it: a dict with attributes."""


CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"


@functools.cache
def official(name):
    """The weights of a network as it is released; nobody may change the tensors."""
    torch.manual_seed(0)
    network, *sizes = SIZES[name]
    return types.MappingProxyType(dict(network(*sizes).state_dict()))


def convert(case, content, *, name="lit_ti", file="released.pth", task=None):
    """Convert what is given; returns the file it is in."""
    case.tool = "convert"
    source = case.folder / file
    save(content, source)
    case.arguments.update(
        source=source,
        destination=case.folder / "weights" / case.rng.choice(("lit.pth", "lit.safetensors")),
        to=name,
        task=task or case.rng.choice(("classifier", "backbone")),
        overwrite=False,
    )
    return source


def save(content, file):
    """Write any content as torch does, a node of yacs as yacs does."""
    from unittest.mock import patch

    modules = {"yacs": types.ModuleType("yacs"), "yacs.config": types.SimpleNamespace(CfgNode=CfgNode)}
    with patch.dict("sys.modules", modules):
        torch.save(content, file)


def wrapped(case, weights):
    """Weights bare or in one of the usual wrappers."""
    return case.rng.choice((weights, {"model": weights}, {"state_dict": weights, "epoch": 299}))


def convert_changed(case, change, **options):
    """Convert the official weights after ``change``, which gets a dict of them and may return another content."""
    weights = dict(official(options.get("name", "lit_ti")))
    changed = change(weights)
    return convert(case, wrapped(case, weights) if changed is None else changed, **options)


def one_of(case, weights, accept=lambda value: True):
    """The name of a weight that both a classifier and a backbone need."""
    names = [name for name, value in weights.items() if not name.startswith(UNUSED) and accept(value)]
    name = case.rng.choice(names)
    case.names.append(name)
    return name


def replace_one(case, make, accept=lambda value: True, **options):
    """Convert with one weight replaced by what ``make`` makes of it."""

    def change(weights):
        name = one_of(case, weights, accept)
        weights[name] = make(weights[name])

    return convert_changed(case, change, **options)


def is_float(value):
    return value.is_floating_point()


@mutation("conversions", "work")
def released_whole(case):
    convert_changed(case, lambda weights: None)


@mutation("conversions", "work")
def released_with_prefixes(case):
    prefix, task = case.rng.choice((("module.", None), ("backbone.", "backbone"), ("module.backbone.", "backbone")))
    convert_changed(
        case, lambda weights: {"state_dict": {prefix + name: value for name, value in weights.items()}}, task=task
    )


@mutation("conversions", "work")
def released_as_safetensors(case):
    from safetensors.torch import save_file

    source = convert_changed(case, lambda weights: None)
    save_file(dict(official("lit_ti")), source.with_suffix(".safetensors"))
    case.arguments["source"] = source.with_suffix(".safetensors")


@mutation("conversions", "work")
def released_in_torchs_first_format(case):
    source = convert_changed(case, lambda weights: None)
    torch.save(dict(official("lit_ti")), source, _use_new_zipfile_serialization=False)


@mutation("conversions", "work")
def released_in_another_precision(case):
    precision = case.rng.choice((torch.float16, torch.bfloat16, torch.float64))
    counts = case.rng.choice((True, False))
    convert_changed(
        case,
        lambda weights: {
            name: value.to(precision) if counts or is_float(value) else value for name, value in weights.items()
        },
    )


@mutation("conversions", "work")
def released_with_options_beside(case):
    node = CfgNode(MODEL=CfgNode(NAME="lit", DEPTHS=[1, 2]), OUTPUT="")
    node.frozen = True
    beside = {"args": argparse.Namespace(lr=1e-3), "config": node, "epoch": 299, "optimizer": None, "scaler": {}}
    convert_changed(case, lambda weights: {"model": weights, **beside})


@mutation("conversions", "work")
def released_as_views(case):
    def change(weights):
        one = torch.ones(512)
        for name, value in weights.items():
            if value.ndim == 2:
                weights[name] = value.t().contiguous().t()
            elif value.shape == one.shape and name.endswith("weight"):
                weights[name] = one
            else:
                weights[name] = torch.nn.Parameter(value, requires_grad=is_float(value))

    convert_changed(case, change)


@mutation("conversions", "work")
def released_for_other_classes(case):
    count = case.rng.choice((1, 7, 5000))
    convert_changed(
        case, lambda weights: weights.update({"head.weight": torch.ones(count, 512), "head.bias": torch.ones(count)})
    )


@mutation("conversions", "work")
def released_for_larger_pictures(case):
    size = case.rng.choice((32, 256, 384))

    def change(weights):
        for i, name in enumerate(TABLES):
            places = (size // (4, 8, 16, 32)[i]) ** 2 + (i == 3)
            weights[name] = torch.ones(1, places, weights[name].shape[2])

    convert_changed(case, change)


@mutation("conversions", "work")
def converted_file_replaced(case):
    convert_changed(case, lambda weights: None)
    case.arguments["overwrite"] = True
    case.arguments["destination"].parent.mkdir()
    case.arguments["destination"].write_text("of before")


@mutation("conversions", "refuse")
def released_truncated(case):
    source = convert_changed(case, lambda weights: None)
    content = source.read_bytes()
    source.write_bytes(content[: case.rng.choice((0, 3, case.rng.randrange(len(content) - 1)))])
    case.names.append(source.name)


@mutation("conversions")
def released_bytes_damaged(case):
    source = convert_changed(case, lambda weights: None)
    content = bytearray(source.read_bytes())
    stop = case.rng.choice((60_000, len(content)))
    for _ in range(case.rng.choice((1, 5, 300))):
        content[case.rng.randrange(stop)] ^= 1 << case.rng.randrange(8)
    source.write_bytes(content)
    case.names += [source.name, "weights"]


@mutation("conversions")
def released_bytes_zeroed(case):
    source = convert_changed(case, lambda weights: None)
    content = bytearray(source.read_bytes())
    start, length = case.rng.randrange(len(content)), case.rng.choice((1, 4096, 10**6))
    content[start : start + length] = bytes(len(content[start : start + length]))
    source.write_bytes(content)
    case.names += [source.name, "weights"]


@mutation("conversions")
def released_safetensors_damaged(case):
    released_as_safetensors(case)
    source = case.arguments["source"]
    content = bytearray(source.read_bytes())
    content[case.rng.randrange(case.rng.choice((8, 3000)))] ^= 1 << case.rng.randrange(8)
    source.write_bytes(content[: case.rng.choice((len(content), 5, 4000))])
    case.names += [source.name, "weights"]


@mutation("conversions", "refuse")
def released_is_no_checkpoint(case):
    source = convert(case, {}, file=case.rng.choice(("released.pth", "released.safetensors", "released")))
    page = b"<html>404 not found</html>"
    content = case.rng.choice((page, b"{}", pickle.dumps(print), pickle.dumps([1]), os.urandom(500), bytes(500)))
    source.write_bytes(content)
    case.names.append(source.name)


@mutation("conversions", "refuse")
def released_is_no_file(case):
    source = convert(case, {})
    source.unlink()
    case.rng.choice((source.mkdir, lambda: os.mkfifo(source), lambda: source.symlink_to(source), lambda: None))()
    case.names.append(source.name)


@mutation("conversions", "refuse")
def released_holds_no_weights(case):
    odd = (
        7,
        None,
        [],
        [torch.zeros(2)],
        "text",
        {},
        torch.zeros(3),
        {"a": 1},
        {1: 2},
        {"model": {}},
        {1: torch.ones(1)},
    )
    value = case.rng.choice(odd)
    source = convert(
        case, case.rng.choice((value, {"model": value}, {"state_dict": value}, {"model": {"model": value}}))
    )
    case.names += [source.name, "weights", "model", "state_dict"]


@mutation("conversions", "refuse")
def released_brings_code(case):
    code = case.rng.choice((print, torch.nn.Linear(2, 3), case, np.random.default_rng, lambda: None.__class__))
    try:
        source = convert_changed(case, lambda weights: {"model": weights, "args": code})
    except (AttributeError, pickle.PicklingError):
        source = convert_changed(case, lambda weights: {"model": weights, "args": print})
    case.names.append(source.name)


@mutation("conversions")
def released_with_an_odd_node(case):
    node = CfgNode({"a": CfgNode()}, b=[CfgNode()])
    # Not "items", which writing the file calls.
    vars(node)[case.rng.choice(("get", "keys", "__class__", "values", "pop"))] = case.rng.choice((7, None, []))
    place = case.rng.choice(("args", "model", "state_dict"))

    def change(weights):
        if place != "args":
            node.update(weights)
        return {"model": weights, place: node}

    convert_changed(case, change)
    case.names += [place, "weights"]


@mutation("conversions", "refuse")
def weight_renamed(case):
    def change(weights):
        name = one_of(case, weights)
        wrong = misspelt(name, case.rng)
        weights[wrong] = weights.pop(name)
        case.names.append(wrong)

    convert_changed(case, change)


@mutation("conversions", "refuse")
def weight_dropped(case):
    def change(weights):
        name = one_of(case, weights)
        del weights[name]
        case.names.append(name.rpartition(".")[2])

    convert_changed(case, change)
    case.names += ["lacks", "missing"]


@mutation("conversions", "refuse")
def weights_of_a_stage_dropped(case):
    stage = case.rng.choice(("block", "patch_embed", "pos_embed")) + case.rng.choice("1234")
    convert_changed(case, lambda weights: {n: value for n, value in weights.items() if not n.startswith(stage)})
    case.names += ["lacks"]


@mutation("conversions", "refuse")
def weight_of_an_odd_name(case):
    odd = (
        7,
        ("a", 1),
        None,
        b"name",
        "[/red] [bold]name",
        "na\nme\x1b[31m",
        "\ud800",
        "",
        "a" * 10_000,
        "norm7.weight",
    )
    name = case.rng.choice(odd)
    convert_changed(case, lambda weights: weights.update({name: torch.ones(3)}))
    case.names += ["no name of this format", "name"]


@mutation("conversions", "refuse")
def weight_twice(case):
    def change(weights):
        name = one_of(case, weights)
        weights[case.rng.choice(("module.", "module.module.")) + name] = weights[name] + 1

    convert_changed(case, change)


@mutation("conversions", "refuse")
def weight_under_our_name_too(case):
    def change(weights):
        name = case.rng.choice([name for name in weights if ".attn." in name])
        weights[name.replace("attn", "mixer")] = weights[name] + 1
        case.names.append(name.partition(".attn")[0])

    convert_changed(case, change)


@mutation("conversions", "refuse")
def weights_under_mixed_prefixes(case):
    prefix = case.rng.choice(("backbone.", "model.", "encoder.", "_orig_mod."))

    def change(weights):
        name = one_of(case, weights)
        chosen = {name, *case.rng.sample(sorted(weights), 40)}
        return {prefix * (name in chosen) + name: value for name, value in weights.items()}

    convert_changed(case, change)
    case.names += ["lacks", prefix]


@mutation("conversions", "refuse")
def weight_of_another_shape(case):
    shapes = ((), (0,), (1,), (3, 1, 2), (1, 1, 1, 1, 1), (7, 512))
    replace_one(case, lambda value: torch.zeros(case.rng.choice(shapes)), is_float)


@mutation("conversions", "refuse")
def head_of_an_odd_shape(case):
    shape = case.rng.choice(((), (0,), (0, 512), (512,), (512, 1000), (1000, 512, 1, 1), (1, 1000, 512)))
    name = case.rng.choice(("head.weight", "head.bias"))
    convert_changed(case, lambda weights: weights.update({name: torch.zeros(shape)}), task="classifier")
    case.names.append("head")


# Of a square weight it cannot be told.
@mutation("conversions")
def weight_transposed(case):
    replace_one(case, lambda value: value.transpose(0, 1).contiguous(), lambda value: value.ndim > 1)


@mutation("conversions", "refuse")
def weight_of_another_kind(case):
    kinds = (torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64)
    replace_one(case, lambda value: torch.ones_like(value, dtype=case.rng.choice(kinds)), is_float)


@mutation("conversions", "refuse")
def weight_of_another_layout(case):
    make = case.rng.choice(
        (
            lambda value: value.to_sparse(),
            lambda value: value.to("meta"),
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        )
    )
    replace_one(case, make, is_float)


@mutation("conversions", "refuse")
def weight_not_finite(case):
    value = case.rng.choice((float("nan"), float("inf"), -float("inf")))

    def make(weight):
        weight = weight.clone()
        weight.view(-1)[case.rng.randrange(weight.numel())] = value
        return weight

    replace_one(case, make, is_float)


@mutation("conversions", "refuse")
def weight_is_no_tensor(case):
    make = case.rng.choice(
        (
            lambda value: value.tolist() if value.numel() < 10_000 else [1, 2],
            lambda value: None,
            lambda value: "text",
            lambda value: 1.5,
            lambda value: value.numpy(),
            lambda value: {"weight": value},
        )
    )
    replace_one(case, make, is_float)


@mutation("conversions", "refuse")
def count_of_batches_odd(case):
    make = case.rng.choice(
        (lambda value: value + 0.5, lambda value: value[None], lambda value: value + float("nan"), lambda value: [0])
    )
    replace_one(case, make, lambda value: not is_float(value))


@mutation("conversions", "refuse")
def position_tables_of_several_sizes(case):
    table = case.rng.choice(TABLES)
    places = case.rng.choice((1, 2, 64, 3137, 4096, 40_000))
    convert_changed(case, lambda weights: weights.update({table: torch.ones(1, places, weights[table].shape[2])}))
    case.names += ["pos_embed", "positions", "pretrain_img_size"]


@mutation("conversions", "refuse")
def position_table_of_an_odd_shape(case):
    table = case.rng.choice(TABLES)
    shape = case.rng.choice(((), (0,), (1, 0, 64), (3136, 64), (2, 3136, 64), (1, 64, 56, 56), (1, 1, 1)))
    convert_changed(case, lambda weights: weights.update({table: torch.zeros(shape)}))
    case.names += ["pos_embed", "positions", "pretrain_img_size"]


@mutation("conversions", "refuse")
def bias_table_of_an_odd_shape(case):
    shape = case.rng.choice(((), (0, 12), (1, 12), (2, 12), (730, 12), (27 * 29, 12), (12, 729), (169, 12), (729,)))

    def change(weights):
        names = sorted(name for name in weights if name.endswith("relative_position_bias_table"))
        for name in case.rng.choice((names, names[:1], names[-1:])):
            weights[name] = torch.zeros(shape)

    convert_changed(case, change, name="lit_s")
    case.names += ["bias_table", "pretrain_img_size"]


@mutation("conversions", "refuse")
def converted_to_another_network(case):
    convert_changed(case, lambda weights: None)
    name = case.rng.choice(
        ("lit_s", "lit_xl", "lit", "LIT_ti", "anchor_deit_t", "pyramid_t", "", "deit_ti", "../lit_ti")
    )
    case.arguments["to"] = name
    case.names += [name] if name else ["''"]


@mutation("conversions", "refuse")
def converted_file_cannot_be_there(case):
    # A head of its own needs a note beside the weights.
    head = {"head.weight": torch.ones(7, 512), "head.bias": torch.ones(7)}
    source = convert_changed(case, lambda weights: weights.update(head), task="classifier")
    folder = case.folder / "weights"
    (case.folder / "taken").write_text("a file")
    folder.mkdir()
    (folder / "folder.pth").mkdir()
    (folder / "loop.pth").symlink_to(folder / "loop.pth")
    (folder / "exists.pth").write_text("mine")
    (folder / "note.json").write_text("mine")
    places = (
        *(folder / "folder.pth", case.folder / "taken/below.pth", case.folder / "taken/below/lit.pth"),
        *(source, folder / "exists.pth", folder / "note.pth", folder / f"{'a' * 300}.pth", folder / f"{'a' * 250}.pth"),
        *(folder / "lit.txt", folder / "lit", folder, case.folder / "nowhere/../released.pth", folder / "loop.pth"),
    )
    place = case.rng.choice((*places, type(source)("/proc/nowhere/lit.pth"), type(source)("/dev/null")))
    kept = (source, case.folder / "nowhere/../released.pth", folder / "note.pth", folder / "folder.pth")
    case.arguments.update(destination=place, overwrite=place in kept and case.rng.random() < 0.7)
    case.names += [place.name, str(place.parent), place.with_suffix(".json").name]


@mutation("conversions", "refuse")
def converted_file_finds_the_disk_full(case):
    convert_changed(case, lambda weights: None)
    case.arguments["limit"] = case.rng.choice((100_000, 10**6, 30 * 10**6))
    case.arguments["overwrite"] = case.rng.choice((True, False))
    if case.arguments["overwrite"]:
        case.arguments["destination"].parent.mkdir()
        case.arguments["destination"].write_text("of before")
    case.names.append(case.arguments["destination"].name)
