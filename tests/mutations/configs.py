"""Configs and command lines: misspelt, incomplete, contradictory, of wrong types."""

from mutations import misspelt, mutation, paths_of, place_of, put, take

WRONG_VALUES = [None, "three", -1, 0, 10**9, 0.5, [], {}, True, [1, 2, 3], {"a": 1}, "", float("nan")]
READ_BY = {
    "train": ("model", "train_dataloader", "val_dataloader", "val_evaluator", "train_cfg", "val_cfg", "optim_wrapper"),
    "test": ("model", "test_dataloader", "test_evaluator", "test_cfg"),
}
SHARED = ("default_hooks", "custom_hooks", "param_scheduler", "visualizer", "log_processor", "env_cfg", "randomness")


def settings(case):
    """Every path of the sections that the tool reads, with its value."""
    sections = (*READ_BY[case.tool], *SHARED)
    return [(path, value) for path, value in paths_of(case.config) if path.split(".")[0] in sections]


def name_path(case, path):
    """A refusal has to name the value by its key, or what the key belongs to."""
    parts = [part for part in path.split(".") if not part.isdigit()]
    case.names += [f"{part}" for part in parts[-2:]]


def option(case, path, value, *names):
    """Set a value as ``--cfg-options`` does."""
    case.arguments.setdefault("options", {})[path] = value
    case.names += [*names] or [path.split(".")[-1]]


def fault(path, *values, tool=None, expected="refuse"):
    """Register a mutation that gives one value of the config, one of ``values``."""

    def apply(case):
        case.tool = tool or case.tool
        put(case.config, path, case.rng.choice(values))
        case.names.append(path.split(".")[-1])

    apply.__name__ = f"config_{path.replace('.', '_')}"
    mutation("configs", expected)(apply)


# A misspelt key may name an optional argument of something that takes any.
@mutation("configs")
def key_misspelt(case):
    path, _ = case.rng.choice([entry for entry in settings(case) if not entry[0][-1].isdigit()])
    value = take(case.config, path)
    place, key = place_of(case.config, path)
    wrong = misspelt(key, case.rng)
    place[wrong] = value
    name_path(case, path)
    case.names.append(wrong)


@mutation("configs", "refuse")
def type_misspelt(case):
    paths = [path for path, value in settings(case) if path.endswith(".type") and path.count(".") < 5]
    # This one is a plain function's name, which mmdet looks up only when it meets overlapping boxes.
    path = case.rng.choice([path for path in paths if not path.endswith("nms.type")])
    place, key = place_of(case.config, path)
    place[key] = misspelt(place[key], case.rng)
    case.names.append(place[key])


@mutation("configs")
def value_replaced(case):
    path, _ = case.rng.choice([entry for entry in settings(case) if "." in entry[0]])
    put(case.config, path, case.rng.choice(WRONG_VALUES))
    name_path(case, path)


@mutation("configs")
def number_as_text(case):
    numbers = [path for path, value in settings(case) if type(value) in (int, float)]
    path = case.rng.choice(numbers)
    place, key = place_of(case.config, path)
    place[key] = str(place[key])
    name_path(case, path)


@mutation("configs")
def number_changed(case):
    numbers = [path for path, value in settings(case) if type(value) in (int, float)]
    path = case.rng.choice(numbers)
    place, key = place_of(case.config, path)
    place[key] = case.rng.choice((-place[key], 0, place[key] * 2, place[key] + 1, place[key] / 2, -1))
    name_path(case, path)


@mutation("configs")
def value_deleted(case):
    path, _ = case.rng.choice([entry for entry in settings(case) if not entry[0][-1].isdigit()])
    take(case.config, path)
    name_path(case, path)


@mutation("configs", "refuse")
def section_missing(case):
    section = case.rng.choice(READ_BY[case.tool])
    del case.config[section]
    case.names.append(section)


@mutation("configs", "refuse")
def section_of_another_type(case):
    section = case.rng.choice([name for name in READ_BY[case.tool] if name not in ("val_cfg", "test_cfg")])
    case.config[section] = case.rng.choice((None, [], "text", 3, {}))
    case.names.append(section)


@mutation("configs", "refuse")
def channels_mismatch(case):
    path = case.rng.choice(
        (
            "model.neck.in_channels.2",
            "model.neck.out_channels",
            "model.rpn_head.in_channels",
            "model.roi_head.bbox_head.in_channels",
            "model.roi_head.mask_head.in_channels",
            "model.roi_head.bbox_roi_extractor.out_channels",
        )
    )
    put(case.config, path, case.rng.choice((7, 32, 256)))
    case.names.append("channels")


@mutation("configs", "refuse")
def level_counts_mismatch(case):
    path, value = case.rng.choice(
        (
            ("model.neck.num_outs", 4),
            ("model.neck.num_outs", 3),
            ("model.rpn_head.anchor_generator.strides", [4, 8, 16]),
            ("model.roi_head.bbox_roi_extractor.featmap_strides", [4, 8, 16, 32, 64, 128]),
        )
    )
    put(case.config, path, value)
    case.names += [path.split(".")[-1], "num_outs"]


@mutation("configs", "refuse")
def classes_miscounted(case):
    head = case.rng.choice(("bbox_head", "mask_head"))
    put(case.config, f"model.roi_head.{head}.num_classes", case.rng.choice((1, 2, 4, 80)))
    case.names.append("num_classes")


@mutation("configs", "refuse")
def classes_of_another_data_set(case):
    split = "test" if case.tool == "test" else case.rng.choice(("train", "val"))
    classes = case.rng.choice(
        (("cat", "dog"), ("box", "sphere"), ("box", "sphere", "cone"), ("box", "spherecylinder"), (), "box", None, 7)
    )
    put(case.config, f"{split}_dataloader.dataset.metainfo", dict(classes=classes))
    case.names += ["classes", "metainfo"]


@mutation("configs", "refuse")
def out_indices_wrong(case):
    case.config["model"]["backbone"]["out_indices"] = case.rng.choice(
        ((0, 1, 2), (1, 2, 3, 4), (3, 2, 1, 0), (), "0123")
    )
    case.names += ["out_indices", "in_channels"]


@mutation("configs", "refuse")
def config_text_broken(case):
    text = case.config_file.read_text()
    broken = (
        text[: case.rng.randrange(200, len(text))] + "\n)(",
        text + "\nmodel = dict(\n",
        text.replace("=", "==", 1),
        text + "\nlr = undefined_name\n",
        text + "\nratio = 1 / 0\n",
        "_base_ = 'nowhere.py'\n" + text,
        "_base_ = 'mmdet::nowhere/none.py'\n" + text,
        "_base_ = 'nolibrary::a.py'\n" + text,
        "_base_ = 7\n" + text,
        "_base_ = ['maskrcnn_case.py']\n" + text,
        "",
        "{}",
        text + "\n" + "\0",
    )
    case.arguments["text"] = case.rng.choice(broken)
    case.names += ["maskrcnn_case.py"]


@mutation("configs", "refuse")
def config_is_binary(case):
    case.arguments["text"] = bytes(case.rng.randrange(256) for _ in range(500))
    case.names += ["maskrcnn_case.py"]


@mutation("configs", "refuse")
def config_of_another_kind(case):
    folder = case.folder / "folder.py"
    folder.mkdir()
    (case.folder / "config.txt").write_text("model = dict(type='MaskRCNN')")
    (case.folder / "config.json").write_text("[1, 2]")
    (case.folder / "config.yaml").write_text("model: [")
    name = case.rng.choice(("folder.py", "config.txt", "config.json", "config.yaml", "nowhere.py"))
    case.arguments["config_file"] = case.folder / name
    case.names.append(name)


@mutation("configs", "refuse")
def custom_import_missing(case):
    name = case.rng.choice(("no_such_module", "effvit_mm.no_such_module", "mmdet.nothing.here"))
    case.config["custom_imports"] = dict(imports=["effvit_mm", "effvit_mm.engine", name])
    case.names.append(name)


@mutation("configs", "refuse")
def custom_import_odd(case):
    case.config["custom_imports"] = case.rng.choice((7, dict(imports=7), ["effvit_mm"], dict(modules=["effvit_mm"])))
    case.names.append("custom_imports")


@mutation("configs", "refuse")
def default_scope_unknown(case):
    case.config["default_scope"] = case.rng.choice(("mmdett", "nothing", 7))
    case.names.append("default_scope")


@mutation("configs", "refuse")
def option_unknown(case):
    key = case.rng.choice(
        (
            "modle.backbone.variant",
            "model.backbone.varriant",
            "train_dataloader.batch_sise" if case.tool == "train" else "test_dataloader.batch_sise",
            "model.bakcbone.variant",
            "lr",
            "model.neck.0.in_channels",
            "model.neck.in_channels.9",
            "custom_hooks.5.type",
            "model.backbone.variant.size",
        )
    )
    option(case, key, "t", *key.split(".")[-2:])


@mutation("configs", "refuse")
def mask_loss_of_a_box_file(case):
    # Boxes alone are a legal file of COCO's, and no use to a detector of masks.
    def change(content):
        for annotation in content["annotations"]:
            annotation.pop("segmentation")

    case.edit_annotations(change)


@mutation("configs", "refuse")
def work_dir_is_a_file(case):
    place = case.folder / case.rng.choice(("taken", "taken/below"))
    (case.folder / "taken").write_text("a file")
    case.arguments["work_dir"] = place
    case.names.append("taken")


@mutation("configs", "refuse")
def data_root_wrong(case):
    case.arguments["data_root"] = case.rng.choice((case.folder / "nowhere", case.config_file))
    case.names.append(case.arguments["data_root"].name)


fault("train_dataloader.batch_size", 0, -1, "2", None, 1.5, tool="train")
fault("train_dataloader.num_workers", -1, "0", None, 0.5, tool="train")
fault("train_dataloader.persistent_workers", True, tool="train")
fault("test_dataloader.batch_size", 0, -1, "2", tool="test")
fault("train_cfg.max_epochs", 0, -3, "1", None, 1.5, tool="train")
fault("train_cfg.val_interval", 0, -1, "1", tool="train")
fault("train_cfg.max_epoch", 1, tool="train")
fault("optim_wrapper.optimzer", dict(type="AdamW", lr=1e-4), tool="train")
fault("default_hooks.checkpoint.max_keep_ckpt", 1)
fault("default_hooks.checkpoint.intervall", 1)
fault("model.neck.in_chanels", [8, 12, 20, 24])
fault("train_dataloader.batch_sise", 2, tool="train")
fault("train_cfg.type", "EpochLoop", 7, None, tool="train")
fault("optim_wrapper.optimizer.lr", -1.0, "2e-4", None, float("nan"), float("inf"), tool="train")
fault("optim_wrapper.optimizer.weight_decay", -1, "0.05", tool="train")
fault("optim_wrapper.optimizer.type", "AdamWW", "Adamw", 7, tool="train")
fault("optim_wrapper.type", "OptimWraper", tool="train")
fault("optim_wrapper.clip_grad", dict(max_nrom=1.0), 7, tool="train")
fault("param_scheduler", [dict(type="OneCycle")], [dict(type="OneCycleLR", total_steps=-1)], tool="train")
fault("param_scheduler", [7], "cosine", tool="train")
fault("custom_hooks", [dict(type="NoHook")], [dict()], [7], "RunReportHook", [dict(type="RunReportHook", pictures=1)])
fault("default_hooks.checkpoint", dict(type="CheckpointHok"), dict(type="KeepingCheckpointHook", intervall=1), 7)
fault("train_dataloader.dataset.type", "CocoDatset", "VOCDatase", None, 7, tool="train")
fault("train_dataloader.dataset.ann_file", None, 7, "", "folder_of_ann_file", tool="train")
fault("train_dataloader.dataset.data_prefix", None, "train2017", dict(img=None), dict(imgs="train2017/"), tool="train")
fault("train_dataloader.dataset.filter_cfg", dict(min_size=10_000), 7, dict(min_size="32"), tool="train")
fault("train_dataloader.dataset.pipeline", [], None, [dict(type="LoadImage")], [7], "default", tool="train")
fault("train_dataloader.sampler", dict(type="Sampler"), None, 7, dict(shuffle=True), tool="train")
fault("model.type", "MaskRCN", None, 7, "AnchorFormer")
fault("model.backbone", None, {}, "AnchorFormer", dict(type="AnchorFormer", variant="xl"), dict(variant="t"))
fault("model.backbone.variant", "xs", 7, None, "T")
fault("model.backbone.num_anchors", 0, -1, "seven", 1.5)
fault("model.backbone.drop_path_rate", -1, 2, "0.1")
fault("model.backbone.channels", (8, 12, 20), (8, 12, 20, 28), 8, "8,12,20,24")
fault("model.backbone.frozen_stages", 9, "all", expected="any")
fault("model.neck", dict(type="FNP"), 7, {})
fault("model.roi_head", None, 7, dict(type="StandardRoiHead"), expected="any")
fault("model.data_preprocessor", None, 7, dict(type="Preprocessor"), expected="any")
fault("test_evaluator.metric", "bbx", ["bbox", "mask"], 7, None, tool="test", expected="any")
fault("test_evaluator.type", "CocoMetrics", None, tool="test")
fault("visualizer", dict(type="Visualiser"), 7, expected="any")
fault("log_level", "LOUD", 7.5, expected="any")
fault("randomness", dict(seed=-1), dict(seed="zero"), 7, dict(sed=1), expected="any")
fault("load_from", "nowhere.pth", 7, ".", tool="train")
fault("env_cfg", 7, dict(mp_cfg=7), dict(mp_cfg=dict(mp_start_method="frok")), dict(dist_cfg=7), expected="any")
