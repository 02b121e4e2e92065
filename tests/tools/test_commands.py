"""Every command of the pages and of the tools is one that its tool takes, and its options lead to something."""

import importlib.util
import re
import shlex
import sys
from functools import cache

import pytest
import timm
from cases import ROOT
from mmengine.registry import METRICS, MODELS

import effvit_mm
from effvit_mm.engine.config_check import check_config
from effvit_mm.engine.explain import arguments_of
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import enable_amp, load_config
from effvit_mm.errors import BadInputError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Not a tool, but what they import first, from the folder in which they lie.
TOOLS = sorted(path for path in (ROOT / "tools").glob("*.py") if path.stem != "openmp")
sys.path.append(str(ROOT / "tools"))
WRITTEN_BY_READERS = ("configs/nyu/depth_warehouse.py",)
OVERLAYS = ROOT / "configs/_base_/toy"
# Sections whose names `check_config` knows, and places where no config of ours says which names there may be.
CHECKED = r"(train_cfg|randomness|optim_wrapper|default_hooks\.\w+|custom_hooks\.\d+)(\.|$)"
FREE = r"strategy\..+|runner_type|load_from|model\.test_cfg\.(crop_size|stride)|model\.backbone\.init_cfg\.\w+"


def commands_of(page):
    """The commands of a page, with those that are printed between words; options alone become some tool's."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ").replace("--shape H W", "--shape 1 1")
    text = re.sub(r"<[^<>\n]+>", "PLACE", text)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.S | re.M)
    lines = [part for block in blocks for line in block.splitlines() for part in line.split("&&")]
    between = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    for command in [" ".join(words.split()) for words in [*lines, *between]]:
        if re.match(r"--.*cfg-options .", command):
            yield f"python tools/train.py CONFIG {command}"
        elif re.match(r"(python|torchrun\b.*|srun\b.*) tools/\w+\.py ", f"{command} "):
            yield command


def examples_of(tool):
    """The commands that a tool's own help shows."""
    lines = tool.read_text(encoding="utf-8").split('"""')[1].splitlines()
    return [line.strip() for line in lines if re.match(r"\s+(python|torchrun) ", line)]


COMMANDS = {
    command: f"{file.stem}-{place}"
    for file in (*PAGES, *TOOLS)
    for place, command in enumerate(examples_of(file) if file in TOOLS else commands_of(file))
}


def parser_of(tool):
    """The function of a tool that reads its command line."""
    spec = importlib.util.spec_from_file_location(f"{tool.stem}_tool", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse_args


@pytest.fixture(scope="module")
def parsers():
    return {tool.stem: parser_of(tool) for tool in TOOLS}


@pytest.fixture
def parse(parsers, monkeypatch):
    def parse(command):
        words = shlex.split(command, comments=True)
        (place,) = [place for place, word in enumerate(words) if re.fullmatch(r"tools/\w+\.py", word)]
        monkeypatch.setattr(sys, "argv", words[place:])
        return parsers[words[place][len("tools/") : -len(".py")]]()

    return parse


@cache
def config_without_options(config, overlays):
    return load_config(config, overlays=overlays, splits=())


def leads_somewhere(path, cfg, config, overlays):
    """Tell whether something takes a value: its place was there before, or belongs to what takes such an argument."""
    if re.match(CHECKED, path) or re.fullmatch(FREE, path):
        return True
    owner, before, (*parents, name) = cfg, config_without_options(config, overlays), path.split(".")
    for parent in parents:
        owner = owner[int(parent)] if parent.isdecimal() else owner[parent]
        before = before[int(parent)] if parent.isdecimal() else before.get(parent, {})
    if name in before:
        return True
    if "type" not in owner:
        return False
    registry = MODELS if parents[0] == "model" else METRICS
    with registry.switch_scope_and_registry(cfg.default_scope) as scoped:
        return name in arguments_of(scoped.get(owner.type))


@pytest.mark.parametrize("command", COMMANDS, ids=COMMANDS.get)
def test_a_command_is_one_that_its_tool_takes(parse, command):
    args = vars(parse(command))
    models = [args.get("to"), *args.get("models", ())] + ([args["model"]] if "model" in args else [])
    for model in [model for model in models if model and re.match(r"\w", model) and "/" not in model]:
        library, _, name = model.rpartition(":")
        known = timm.list_models() if library == "timm" else effvit_mm.list_backbones()
        assert model.isupper() or name.split("(")[0] in known
    config, options = str(args.get("config")), args.get("cfg_options") or {}
    if options and config.startswith("configs/"):
        overlays = OVERLAYS if args["toy"] else None
        options = enable_amp(options) if args.get("amp") else options
        check_options(ROOT / config, overlays, options)


def check_options(config, overlays, options):
    cfg = load_config(config, overlays=overlays, options=options, splits=())
    assert [path for path in options if not leads_somewhere(path, cfg, config, overlays)] == []
    # Its file is what another command leaves.
    cfg.model.backbone.pop("init_cfg", None)
    check_config(cfg, ("train", "val"))
    check_model(cfg)


@pytest.mark.parametrize(
    "option", ["model.test_cfg.crop=512", "model.decode_head.outputs=3", "val_evaluator.dir=a", "data_root.b=3"]
)
def test_an_option_that_nothing_takes_is_noticed(option):
    path, value = option.split("=")
    with pytest.raises((AssertionError, BadInputError)):
        check_options(ROOT / "configs/nyu/depth_lit.py", None, {path: value})


def test_the_pages_have_commands_of_every_tool():
    named = {re.search(r"tools/(\w+)\.py", command)[1] for page in PAGES for command in commands_of(page)}
    assert named == {tool.stem for tool in TOOLS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_of_the_clone_that_a_page_names_are_there(page):
    named = re.findall(r"(?<![\w/.-])(?:tools|configs|tests|effvit_mm)/[\w/]+\.py\b", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file() and name not in WRITTEN_BY_READERS] == []


@pytest.mark.parametrize(
    "tool", ["train CONFIG", "test CONFIG CHECKPOINT", "infer CONFIG CHECKPOINT IN --out O", "benchmark cost NAME"]
)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("\"model.test_cfg=dict(mode='slide', stride=(341, 341))\"", "set its values one by one: model.test_cfg.name="),
        ("model.test_cfg=dict(mode=slide)", "set its values one by one: model.test_cfg.name="),
        ("\"model={'a': 1}\"", "set its values one by one: model.name="),
        (
            "\"model.backbone.mixers={'type':'agent'}\"",
            "model = dict(backbone=dict(mixers=dict(type='agent', _delete_=True)))",
        ),
        ("model.neck=dict(mode=slide)", "model = dict(neck=dict(..., _delete_=True))"),
        ("custom_hooks.0=dict(a=3)", "with the whole list that it is in"),
        ("model.neck=(1,2),(3,4)", "model.neck=(1,2),(3,4) cannot be read, expected a number"),
        ("model.neck=(1,2", "model.neck=(1,2 cannot be read, expected a number"),
        ("a.b=1 configs/coco/maskrcnn_lit.py", "is no value of the config, expected key.of.value=3"),
    ],
)
def test_an_option_that_cannot_be_read_is_named_with_how_to_write_it(parse, capsys, tool, words, message):
    name, _, others = tool.partition(" ")
    with pytest.raises(SystemExit) as ended:
        parse(f"python tools/{name}.py {others} --cfg-options {words}")
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "argument --cfg-options: " in said
    assert message in said


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=0.5", 0.5),
        ("a=None", None),
        ("a=512,512", [512, 512]),
        ("a=[(x,y),z]", [("x", "y"), "z"]),
        ("a=b=c", "b=c"),
        ("a=frame_{:05d}.jpg", "frame_{:05d}.jpg"),
        ("a={:05d}.jpg", "{:05d}.jpg"),
    ],
)
def test_values_are_read_as_mmengine_reads_them(parse, word, value):
    assert parse(f"python tools/train.py CONFIG --cfg-options {word} --cfg-options c=1").cfg_options == {
        "a": value,
        "c": 1,
    }
