"""Checkpoints: cut off, changed, of another network, or no checkpoints; tested, resumed, or started from."""

import pickle

import torch

from mutations import mutation, put


def use(case, file=None):
    """Test the checkpoint, resume from it, or start from it."""
    file = file or case.checkpoint
    way = case.rng.choice(("test", "resume", "load_from"))
    case.names += [file.name]
    case.tool = "test" if way == "test" else "train"
    if way == "test":
        case.arguments["checkpoint"] = file
    elif way == "load_from" or file != case.checkpoint:
        case.config["load_from"] = str(file)
    else:
        case.config["train_cfg"]["max_epochs"] = 2
        case.arguments["resume"] = True
    return way


def rewrite(case, change):
    content = torch.load(case.checkpoint, weights_only=False)
    changed = change(content)
    torch.save(content if changed is None else changed, case.checkpoint)


@mutation("checkpoints", "work")
def checkpoint_whole(case):
    use(case)


@mutation("checkpoints")
def checkpoint_truncated(case):
    # A run that resumes passes over a torn checkpoint, so it is none of the refused.
    use(case)
    content = case.checkpoint.read_bytes()
    case.checkpoint.write_bytes(content[: case.rng.randrange(len(content) - 1)])


@mutation("checkpoints")
def checkpoint_bytes_flipped(case):
    use(case)
    content = bytearray(case.checkpoint.read_bytes())
    for _ in range(case.rng.choice((1, 10, 1000))):
        content[case.rng.randrange(len(content))] ^= 1 << case.rng.randrange(8)
    case.checkpoint.write_bytes(content)


@mutation("checkpoints")
def checkpoint_pickle_flipped(case):
    use(case)
    content = bytearray(case.checkpoint.read_bytes())
    for _ in range(case.rng.choice((1, 5))):
        content[case.rng.randrange(min(len(content), 40_000))] ^= 1 << case.rng.randrange(8)
    case.checkpoint.write_bytes(content)


@mutation("checkpoints", "refuse")
def checkpoint_of_another_size_of_the_network(case):
    use(case)
    case.config["model"]["backbone"].update(channels=(8, 12, 20, 32), depths=(1, 2, 1, 1), num_anchors=5)
    put(case.config, "model.neck.in_channels", [8, 12, 20, 32])
    if case.config["load_from"]:
        # To start from weights of which most fit is what fine-tuning is.
        put(case.config, "load_from", None)
        case.arguments["checkpoint"], case.tool = case.checkpoint, "test"


@mutation("checkpoints", "refuse")
def checkpoint_of_another_network(case):
    use(case)
    rewrite(case, lambda _: {"state_dict": torch.nn.Linear(3, 5).state_dict()})


@mutation("checkpoints", "refuse")
def checkpoint_of_other_shapes(case):
    way = use(case)

    def change(content):
        names = (
            sorted(content["state_dict"]) if way == "load_from" else case.rng.sample(sorted(content["state_dict"]), 3)
        )
        for name in names:
            content["state_dict"][name] = torch.zeros(3, 1, 2)

    rewrite(case, change)


@mutation("checkpoints", "refuse")
def checkpoint_lacks_weights(case):
    way = use(case)

    def change(content):
        names = sorted(content["state_dict"])
        for name in names if way == "load_from" else case.rng.sample(names, case.rng.choice((1, 9))):
            del content["state_dict"][name]

    rewrite(case, change)


@mutation("checkpoints", "refuse")
def checkpoint_part_missing(case):
    way = use(case)
    case.arguments["checkpoint"] = case.checkpoint

    def change(content):
        content.pop("state_dict" if way != "resume" else case.rng.choice(("state_dict", "meta", "optimizer")))

    rewrite(case, change)


@mutation("checkpoints", "refuse")
def checkpoint_part_odd(case):
    way = use(case)
    parts = (
        ("state_dict",) if way != "resume" else ("state_dict", "meta", "optimizer", "param_schedulers", "message_hub")
    )
    part = case.rng.choice(parts)
    odd = case.rng.choice((None, 7, [], "text", {}, {"a": 1}, {1: 2}))
    rewrite(case, lambda content: content.update({part: odd}))


@mutation("checkpoints")
def checkpoint_meta_odd(case):
    case.rng.random()
    case.tool, case.arguments["resume"] = "train", True
    case.config["train_cfg"]["max_epochs"] = 2
    key = case.rng.choice(("epoch", "iter", "seed"))
    value = case.rng.choice((None, -1, 10**6, "1", [], 0.5))
    case.names.append(case.checkpoint.name)
    rewrite(case, lambda content: content["meta"].update({key: value}))


@mutation("checkpoints")
def checkpoint_of_another_optimizer(case):
    case.tool, case.arguments["resume"] = "train", True
    case.config["train_cfg"]["max_epochs"] = 2
    wrappers = (dict(type="SGD", lr=0.01, momentum=0.9), dict(type="AdamW", lr=1e-3))
    case.config["optim_wrapper"] = dict(type="OptimWrapper", optimizer=case.rng.choice(wrappers))
    case.names += [case.checkpoint.name]


@mutation("checkpoints", "refuse")
def checkpoint_not_finite(case):
    use(case)

    def change(content):
        names = [name for name, value in content["state_dict"].items() if value.is_floating_point()]
        content["state_dict"][case.rng.choice(names)].fill_(float("nan"))

    rewrite(case, change)


@mutation("checkpoints", "refuse")
def checkpoint_is_another_pickle(case):
    way = use(case)
    case.tool, case.arguments["checkpoint"] = "test", case.checkpoint
    case.config["load_from"], case.arguments["resume"] = None, way == "nothing"
    other = case.rng.choice((7, [1, 2], {"a": 1}, {"state_dict": 3}, print, {"state_dict": {"w": print}}, {}))
    case.checkpoint.write_bytes(pickle.dumps(other))


@mutation("checkpoints", "refuse")
def checkpoint_holds_other_things(case):
    way = use(case)
    other = case.rng.choice(([1, 2], {"a": 1}, torch.zeros(3), {"state_dict": [1]}, {"state_dict": {"a": 7}}, {}))
    if way == "resume":
        case.arguments["resume"] = False
        case.config["load_from"] = str(case.checkpoint)
    torch.save(other, case.checkpoint)


@mutation("checkpoints", "refuse")
def checkpoint_is_text(case):
    file = case.folder / case.rng.choice(("weights.pth", "weights.safetensors", "weights", "weights.txt"))
    file.write_text(
        case.rng.choice(("", "<html>404</html>", "version https://git-lfs.github.com/spec/v1\n", "{}" * 99))
    )
    use(case, file)


@mutation("checkpoints", "refuse")
def checkpoint_is_a_folder(case):
    file = case.folder / "weights.pth"
    file.mkdir()
    use(case, file)


@mutation("checkpoints", "refuse")
def checkpoint_is_garbage_of_safetensors(case):
    from safetensors.torch import save_file

    file = case.folder / "weights.safetensors"
    save_file({"weight": torch.zeros(50)}, file)
    content = bytearray(file.read_bytes())
    cut = case.rng.choice((4, 20, len(content) - 1, len(content)))
    content[case.rng.randrange(8)] ^= 1 << case.rng.randrange(8)
    file.write_bytes(content[:cut])
    use(case, file)


@mutation("checkpoints", "refuse")
def checkpoint_missing(case):
    use(case, case.folder / "nowhere.pth")


@mutation("checkpoints", "refuse")
def pretrained_backbone_missing(case):
    checkpoint = case.rng.choice((str(case.folder / "nowhere.pth"), str(case.folder), str(case.config_file)))
    put(case.config, "model.backbone.init_cfg", dict(type="Pretrained", checkpoint=checkpoint))
    case.tool = "train"
    case.names += ["init_cfg", "nowhere.pth"]


@mutation("checkpoints", "work")
def checkpoint_of_data_parallel(case):
    way = use(case)

    def change(content):
        content["state_dict"] = {f"module.{name}": value for name, value in content["state_dict"].items()}

    rewrite(case, change)
    assert way


@mutation("checkpoints", "work")
def checkpoint_of_weights_alone(case):
    case.tool, case.arguments["checkpoint"] = "test", case.checkpoint
    case.names.append(case.checkpoint.name)
    rewrite(case, lambda content: content["state_dict"])
