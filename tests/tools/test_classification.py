"""Pre-training as a user meets it: a run on toy scenes and its reports, its file in a detector, and what is refused."""

import shutil

import pytest

LIT = "configs/imagenet/cls_lit_ti.py"
TRAIN = f"python tools/train.py {LIT}"
RUN = "cls_lit_ti"
# Ten scenes are one iteration; objects of every class are among those of each split.
SCENES = ("toy_scenes.num_train=10", "toy_scenes.num_val=4")
SHORT = (*SCENES, "train_cfg.max_epochs=1", "train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1")
OWN = """
_base_ = "../configs/imagenet/cls_lit_ti.py"

folder = dict(_delete_=True, type="CustomDataset", data_root="own", pipeline=[
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 64)), dict(type="PackInputs"),
])
model = dict(head=dict(num_classes={classes}), data_preprocessor=dict(num_classes={classes}))
sampler = dict(_delete_=True, type="DefaultSampler", shuffle=True)
loader = dict(batch_size=2, num_workers=0)
train_dataloader = dict(**loader, sampler=sampler, dataset=dict(**folder, data_prefix="train"))
val_dataloader = dict(**loader, dataset=dict(**folder, data_prefix="val"))
test_dataloader = val_dataloader
val_evaluator = dict(topk=({topk},))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
param_scheduler = None
"""


@pytest.fixture(scope="module")
def trained(workplace):
    """One epoch on ten scenes; returns what the console showed."""
    return workplace.succeeds(f"{TRAIN} --toy", *SHORT)


def test_a_run_leaves_the_accuracy_in_a_table_and_a_file_and_drawings(workplace, trained):
    assert workplace.metrics(RUN).keys() == {"accuracy/top1"}
    assert "accuracy/top1" in trained
    assert len(list((workplace.folder / "work_dirs" / RUN / "predictions").glob("*.png"))) == 4


def test_testing_the_checkpoint_reproduces_the_figures(workplace, trained):
    workplace.succeeds(f"python tools/test.py {LIT} work_dirs/{RUN}/epoch_1.pth --toy", *SCENES)
    assert workplace.metrics(f"{RUN}/test") == workplace.metrics(RUN)


def test_a_detector_starts_from_the_file_and_says_what_it_left_out(workplace, trained):
    out = workplace.succeeds(
        "python tools/train.py configs/coco/retinanet_lit_ti.py --toy",
        *SHORT,
        "model.backbone.init_cfg.type=Pretrained",
        f"model.backbone.init_cfg.checkpoint=work_dirs/{RUN}/epoch_1.pth",
    )
    assert "weights and buffers from" in out
    assert "left out, not the backbone's: head.fc.bias, head.fc.weight" in out


def test_a_detector_with_another_backbone_is_refused_before_training(workplace, trained):
    done = workplace.run(
        "python tools/train.py configs/coco/retinanet_lit.py --toy",
        *SHORT,
        "model.backbone.init_cfg.type=Pretrained",
        f"model.backbone.init_cfg.checkpoint=work_dirs/{RUN}/epoch_1.pth",
    )
    refused(done, ["does not fit the backbone LIT", "type, variant and options"])


def make_own(workplace, classes=3, topk=1):
    """Put toy pictures into class folders of a user's own, and write their config."""
    root = workplace.folder / "own"
    shutil.rmtree(root, ignore_errors=True)
    toy = workplace.folder / "data/toy_scenes/imagenet"
    pictures = sorted(toy.rglob("*.jpg"))
    for i, (split, name) in enumerate((split, name) for split in ("train", "val") for name in ("ape", "bee", "cat")):
        (root / split / name).mkdir(parents=True)
        shutil.copy(pictures[i], root / split / name)
    (workplace.folder / "own_configs").mkdir(exist_ok=True)
    (workplace.folder / "own_configs/cls_own.py").write_text(OWN.format(classes=classes, topk=topk))
    return root


def test_class_folders_of_ones_own_train(workplace, trained):
    make_own(workplace)
    workplace.succeeds("python tools/train.py own_configs/cls_own.py")
    assert workplace.metrics("cls_own").keys() == {"accuracy/top1"}


@pytest.mark.parametrize(
    ("own", "change", "messages"),
    [
        (dict(classes=4), lambda root: None, ["num_classes=4, but the train data set has 3 classes"]),
        (dict(topk=5), lambda root: None, ["topk=(5,) counts more guesses than the 3 classes"]),
        ({}, lambda root: (root / "val/cat").rename(root / "val/dog"), ["other class folders", "cat, dog"]),
        ({}, lambda root: next((root / "train/bee").iterdir()).unlink(), ["hold no picture (bee)"]),
        ({}, lambda root: shutil.rmtree(root / "val"), ["val pictures", "MISSING", "docs/pretraining.md"]),
        ({}, lambda root: [shutil.rmtree(folder) for folder in (root / "val").iterdir()], ["no class folders"]),
    ],
    ids=["classes", "topk", "renamed", "empty", "missing", "unsorted"],
)
def test_what_would_mislead_is_answered_in_a_few_lines(workplace, trained, own, change, messages):
    change(make_own(workplace, **own))
    refused(workplace.run("python tools/train.py own_configs/cls_own.py"), messages)


def test_pictures_that_a_list_names_and_a_folder_lacks_are_counted(workplace, trained):
    root = make_own(workplace)
    pictures = sorted(file.relative_to(root / "train") for file in (root / "train").rglob("*.jpg"))
    (root / "list.txt").write_text("".join(f"{picture} 0\n" for picture in (*pictures, "bee/gone.jpg", "ox/none.jpg")))
    done = workplace.run(
        "python tools/train.py own_configs/cls_own.py --cfg-options train_dataloader.dataset.ann_file=list.txt "
        "train_dataloader.dataset.data_prefix=train train_dataloader.dataset.with_label=True"
    )
    refused(done, ["2 of the 5 pictures of own/list.txt are not in own/train", "bee/gone.jpg", "ox/none.jpg"])


def test_missing_data_is_answered_with_where_it_was_looked_for(workplace):
    refused(workplace.run(TRAIN), ["data/imagenet/train", "image-net.org", "--data-root", "--toy"])


def refused(done, messages):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = done.stderr[done.stderr.index("error: ") :]
    assert len(errors.splitlines()) <= 12
    for message in messages:
        assert message in errors
