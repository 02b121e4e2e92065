"""What timm's training script does with a model, in its order and with its parts, on our networks."""

import re
import shlex
import subprocess
import sys
from argparse import Namespace

import pytest
import timm
import torch
from cases import ROOT, SMALL
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, LinearLR
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import load_checkpoint, model_parameters
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ModelEmaV3, NativeScaler, accuracy

from effvit_mm.backbones import timm_entry  # noqa: F401  (registers the names)

# timm leaves the files of its pictures to the garbage collector.
UPSTREAM_WARNINGS = (
    "unclosed file .*png:ResourceWarning",
    "Exception ignored in. <_io.FileIO name=.*png:pytest.PytestUnraisableExceptionWarning",
    ".*GradScaler is enabled, but CUDA is not available:UserWarning",
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:{warning}") for warning in UPSTREAM_WARNINGS]

SMALL_PLAIN = dict(dim=24, depth=3, num_heads=3, mlp_ratio=2)
# One of each assembly.
NETWORKS = {"lit_s": SMALL, "anchorformer_t": SMALL, "deit_t": SMALL_PLAIN}
PAGE = (ROOT / "docs/pretraining.md").read_text()
LINE = re.search(r"^(python -c .*?) --data-dir", PAGE, flags=re.M)[1]
SWITCHES = re.search(r"^torchrun --nproc_per_node 8 --no-python .*? --model effvit_mm_lit_s (.*)", PAGE, flags=re.M)[1]
# The script hands on what its own switches leave unset.
UNSET = dict(
    pretrained=False,
    in_chans=3,
    drop_rate=0.0,
    drop_block_rate=None,
    global_pool=None,
    bn_momentum=None,
    bn_eps=None,
    scriptable=False,
    checkpoint_path="",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two classes of three pictures, one red and one blue, in ImageNet's layout."""
    root = tmp_path_factory.mktemp("imagenet")
    for split in ("train", "validation"):
        for name, colour in (("red", (200, 30, 30)), ("sea", (30, 30, 200))):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (70 + 9 * i, 64), colour).save(root / split / name / f"{i}.png")
    return root


def loader_of(root, split, network, *, is_training):
    data = resolve_data_config(dict(input_size=(3, 64, 64)), model=network)
    dataset = create_dataset("", root=root, split=split, is_training=is_training)
    return create_loader(
        dataset,
        input_size=data["input_size"],
        batch_size=2,
        is_training=is_training,
        use_prefetcher=False,
        interpolation="bicubic",
        mean=data["mean"],
        std=data["std"],
        num_workers=0,
        pin_memory=False,
    )


@torch.no_grad()
def top1_of(network, loader):
    network.eval()
    right = [accuracy(network(pictures), labels)[0].item() * len(labels) for pictures, labels in loader]
    return sum(right) / len(loader.dataset)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_script_trains_averages_and_saves_our_network(name, folders, tmp_path):
    torch.manual_seed(0)
    sizes = {**UNSET, **NETWORKS[name], "drop_path_rate": 0.0}
    network = timm.create_model(f"effvit_mm_{name}", num_classes=2, **sizes)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=3e-3, weight_decay=0.05, layer_decay=0.9)
    scheduler, num_epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=6, warmup_epochs=1, warmup_lr=1e-5
    )
    scaler, average, loss_of = NativeScaler(), ModelEmaV3(network, decay=0.5), LabelSmoothingCrossEntropy(0.1)
    args = Namespace(model=f"effvit_mm_{name}")
    saver = CheckpointSaver(
        network, optimizer, args=args, model_ema=average, amp_scaler=scaler, checkpoint_dir=tmp_path, max_history=1
    )
    train, val = (loader_of(folders, split, network, is_training=split == "train") for split in ("train", "validation"))
    for epoch in range(num_epochs):
        network.train()
        for step, (pictures, labels) in enumerate(train):
            optimizer.zero_grad()
            scaler(loss_of(network(pictures), labels), optimizer, clip_grad=5.0, parameters=model_parameters(network))
            average.update(network, step=epoch * len(train) + step)
        top1 = top1_of(average.module, val)
        scheduler.step(epoch + 1, top1)
        saver.save_checkpoint(epoch, metric=top1)
    assert top1 == 100

    again = timm.create_model(f"effvit_mm_{name}", num_classes=2, **sizes)
    load_checkpoint(again, tmp_path / "last.pth.tar", use_ema=True)
    assert top1_of(again, val) == top1
    for ours, theirs in zip(again.parameters(), average.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_documented_switches_are_the_recipe_of_our_config():
    words = SWITCHES.split()
    given = {word[2:]: value for word, value in zip(words, [*words[1:], "--"], strict=True) if word.startswith("--")}
    recipe = Config.fromfile(ROOT / "configs/_base_/schedules/imagenet_300e_lit.py")
    optimizer = recipe.optim_wrapper.optimizer
    assert given["opt"] == optimizer.type.lower()
    assert (float(given["lr"]), float(given["weight-decay"])) == (optimizer.lr, optimizer.weight_decay)
    assert float(given["clip-grad"]) == recipe.optim_wrapper.clip_grad.max_norm
    assert 8 * int(given["batch-size"]) == recipe.auto_scale_lr.base_batch_size
    assert given["train-interpolation"] == "bicubic"

    updates = 5  # an epoch
    ours, theirs = (torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=optimizer.lr) for _ in range(2))
    warm_up, cosine = (dict(scheduler) for scheduler in recipe.param_scheduler)
    assert all(scheduler.pop("convert_to_iter_based") for scheduler in (warm_up, cosine))
    assert (warm_up.pop("type"), cosine.pop("type")) == ("LinearLR", "CosineAnnealingLR")
    schedules = [
        kind.build_iter_from_epoch(ours, epoch_length=updates, **cfg)
        for kind, cfg in ((LinearLR, warm_up), (CosineAnnealingLR, cosine))
    ]
    schedule, num_epochs = create_scheduler_v2(
        theirs,
        num_epochs=int(given["epochs"]),
        warmup_epochs=int(given["warmup-epochs"]),
        warmup_prefix="warmup-prefix" in given,
        warmup_lr=float(given["warmup-lr"]),
        min_lr=float(given["min-lr"]),
        step_on_epochs="sched-on-updates" not in given,
        updates_per_epoch=updates,
    )
    assert num_epochs == recipe.train_cfg.max_epochs
    for update in range(1, num_epochs * updates):
        ours.step()
        for one in schedules:
            one.step()
        schedule.step_update(update)
        # One counts the first step of warm-up as the other's second.
        assert theirs.param_groups[0]["lr"] == pytest.approx(ours.param_groups[0]["lr"], abs=1.1e-5), update


def test_a_script_behind_the_documented_import_finds_the_names(tmp_path):
    script = "import sys, timm; print(sys.argv[1:], timm.create_model('effvit_mm_plain_t', depth=1).num_classes)"
    (tmp_path / "train.py").write_text(f"if __name__ == '__main__':\n    {script}\n")
    words = [sys.executable, *shlex.split(LINE)[1:], "--model", "effvit_mm_plain_t"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "['--model', 'effvit_mm_plain_t'] 1000" in done.stdout, done.stderr
