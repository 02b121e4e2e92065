"""Every command and every snippet of the README runs as it is printed, training shortened."""

import ast
import re
import sys

import pytest
from cases import ROOT

README = (ROOT / "README.md").read_text()
FEW_SCENES = ("toy_scenes.num_train=8", "toy_scenes.num_val=4")
FEW_SMALL_PICTURES = (
    "train_cfg.max_epochs=1",
    "train_dataloader.dataset.pipeline.2.scale=(160,128)",
    "val_dataloader.dataset.pipeline.1.scale=(160,128)",
)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands():
    """The lines of the shell blocks, without comments and without what installs and tests (the gate runs those)."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if not line.startswith("#")]
    words = [part.strip() for line in lines for part in line.split("&&")]
    return [command for command in words if not command.startswith(("pip install", "pytest"))]


@pytest.mark.parametrize("command", commands())
def test_command_runs(workplace, command):
    if "--toy" in command:
        workplace.succeeds(command, *FEW_SCENES)
        return
    if not (workplace.folder / "data/coco").exists():
        workplace.make_coco()
    command = command.replace("--nproc_per_node 8", "--nproc_per_node 2").replace("--overfit 16", "--overfit 3")
    workplace.succeeds(command, *FEW_SMALL_PICTURES)


def test_commands_left_the_reports_the_readme_promises(workplace):
    run = workplace.folder / "work_dirs/maskrcnn_anchorformer"
    assert (run / "metrics.json").is_file()
    assert (run / "maskrcnn_anchorformer.py").is_file()
    assert list((run / "predictions").glob("*.png"))


def test_python_snippet_runs(workplace):
    snippets = [block for block in blocks("python") if "import effvit_mm" in block]
    assert snippets
    for snippet in snippets:
        (workplace.folder / "snippet.py").write_text(snippet)
        assert "(64, 160, 256) (8, 16, 32)" in workplace.succeeds(f"{sys.executable} snippet.py")


def test_config_snippet_is_a_config(workplace):
    from mmengine.config import Config

    snippets = [block for block in blocks("python") if "custom_imports" in block]
    assert snippets
    for snippet in snippets:
        ast.parse(snippet)
        assert Config.fromstring(snippet, ".py").model.backbone.type == "AnchorFormer"


def test_table_of_backbones_lists_every_name():
    import effvit_mm

    assert re.findall(r"^\| `(\w+)` \|", README, flags=re.M) == sorted(effvit_mm.list_backbones(), key=readme_order)


def readme_order(name):
    from effvit_mm.registry import BACKBONES

    family = next(known for known in sorted(BACKBONES, key=len, reverse=True) if name.startswith(f"{known}_"))
    return family, ("t", "ti", "s", "m", "b", "b_384").index(name.removeprefix(f"{family}_"))


def test_it_stays_short():
    assert len(README.splitlines()) <= 200
