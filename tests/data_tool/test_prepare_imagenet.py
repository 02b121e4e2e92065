"""ImageNet's archives become class folders, whole or not at all."""

import io
import tarfile
from pathlib import Path

import pytest

from effvit_mm.data_tool.imagenet import prepare_imagenet
from effvit_mm.errors import BadInputError

NAMES = ("ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", "ILSVRC2012_val_00000003")
SYNSETS = ("n01751748", "n09193705", "n01751748")


@pytest.fixture
def flat(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.JPEG").write_bytes(name.encode())
    return folder


LISTS = {
    "in order": "".join(f"{synset}\n" for synset in SYNSETS),
    "named": "".join(f"{name}.JPEG {synset}\n" for name, synset in zip(NAMES[::-1], SYNSETS[::-1], strict=True)),
    "kaggle": "ImageId,PredictionString\n"
    + "".join(f"{name},{synset} 85 1 499 272 {synset} 1 2 3 4\n" for name, synset in zip(NAMES, SYNSETS, strict=True)),
}


@pytest.mark.parametrize("form", LISTS)
def test_validation_pictures_are_sorted_by_any_list_of_synsets(flat, tmp_path, form):
    (tmp_path / "list").write_text(LISTS[form])
    root = prepare_imagenet(flat, tmp_path / "imagenet", synsets=tmp_path / "list", only="val") / "val"
    assert (root / "n09193705/ILSVRC2012_val_00000002.JPEG").read_bytes() == NAMES[1].encode()
    assert len(list(root.glob("n01751748/*"))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("490\n361\n171\n", "line 1 is '490', expected a synset.*development kit"),
        (LISTS["in order"][10:], "2 lines for 3 pictures"),
        (LISTS["named"].replace("00003", "00004"), "1 pictures of .* have no line in .*ILSVRC2012_val_00000003"),
        (f"{LISTS['named']}ILSVRC2012_val_00000009 n01751748\n", "1 lines have no picture"),
    ],
    ids=["numbers", "short", "other", "long"],
)
def test_a_list_of_other_pictures_is_refused_and_nothing_is_left(flat, tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(BadInputError, match=message):
        prepare_imagenet(flat, tmp_path / "imagenet", synsets=tmp_path / "list", only="val")
    assert not (tmp_path / "imagenet").exists()


CLASSES = {
    "n01440764": ("n01440764_18.JPEG", "n01440764_36.JPEG", "n01440764_9.JPEG"),
    "n01443537": ("n01443537_2.JPEG",),
}


def tar_of(files):
    """Return a tar archive of bytes by name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def class_tars():
    return {f"{synset}.tar": tar_of({name: name.encode() for name in names}) for synset, names in CLASSES.items()}


@pytest.fixture
def downloads(tmp_path):
    folder = tmp_path / "downloads"
    (folder / "imagenet").mkdir(parents=True)
    (folder / "imagenet/ILSVRC2012_img_train.tar").write_bytes(tar_of(class_tars()))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of({f"{name}.JPEG": name.encode() for name in NAMES}))
    (folder / "list.csv").write_text(LISTS["kaggle"])
    (folder / "holiday.jpg").write_bytes(b"no validation picture")
    return folder


def check_training(folder):
    assert {file.name: file.read_bytes() for file in folder.glob("*/*")} == {
        name: name.encode() for names in CLASSES.values() for name in names
    }
    assert len(list(folder.glob("n01440764/*"))) == 3


def test_both_archives_become_class_folders(downloads, tmp_path):
    root = prepare_imagenet(downloads, tmp_path / "imagenet", synsets=downloads / "list.csv")
    check_training(root / "train")
    assert (root / "val/n09193705/ILSVRC2012_val_00000002.JPEG").read_bytes() == NAMES[1].encode()
    assert len(list(root.glob("val/*/*"))) == 3


def test_the_list_of_classes_is_found_among_the_downloads(downloads, tmp_path):
    (downloads / "kaggle").mkdir()
    (downloads / "list.csv").rename(downloads / "kaggle/list.csv")
    for number, name in enumerate(("list.csv", "kaggle/list.csv")):
        root = prepare_imagenet(downloads, tmp_path / f"imagenet_{number}", synsets=Path(name), only="val")
        assert len(list(root.glob("val/*/*"))) == 3
    with pytest.raises(BadInputError, match=r"--synsets other/list.csv does not exist, looked from .* in --source"):
        prepare_imagenet(downloads, tmp_path / "imagenet", synsets=Path("other/list.csv"), only="val")


def test_one_split_is_added_to_the_other(downloads, tmp_path):
    root = prepare_imagenet(downloads, tmp_path / "imagenet", only="train")
    prepare_imagenet(downloads, root, synsets=downloads / "list.csv", only="val")
    check_training(root / "train")
    assert sorted(path.name for path in root.iterdir()) == ["train", "val"]
    with pytest.raises(BadInputError, match="imagenet/train exists already and is not changed"):
        prepare_imagenet(downloads, root, only="train")


def test_archives_of_classes_that_are_unpacked_already_are_taken(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    for name, content in class_tars().items():
        (folder / name).write_bytes(content)
    check_training(prepare_imagenet(folder, tmp_path / "imagenet", only="train") / "train")


def link():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("n01440764_18.JPEG")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    return content.getvalue()


ONE = class_tars()["n01443537.tar"]
CUT = tar_of({"n01443537_2.JPEG": bytes(2000), "n01443537_3.JPEG": bytes(2000)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            tar_of({"../../n01443537_2.JPEG": b""}),
            r"n01443537.tar holds '\.\./\.\./n01443537_2.JPEG'.*inside the folder",
        ),
        (tar_of({"/tmp/n01443537_2.JPEG": b""}), r"holds '/tmp/n01443537_2.JPEG'"),
        (link(), "holds 'n01440764_18.JPEG', a link or device"),
        (b"", "n01443537.tar cannot be read.*fetch it again"),
        (CUT[:1500], "n01443537.tar cannot be read"),
        (CUT[:4500], "n01443537.tar cannot be read"),
        (CUT[:2700], "n01443537.tar cannot be read"),
        (CUT[:2560] + b"x" * 512, "n01443537.tar cannot be read .no header at byte 2,560"),
        (tar_of({"readme.txt": b""}), "n01443537.tar holds no picture"),
    ],
    ids=["above", "absolute", "link", "empty", "cut picture", "cut last", "cut header", "no header", "no picture"],
)
def test_hostile_and_torn_archives_of_a_class_are_refused_and_nothing_is_left(tmp_path, content, message):
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of({**class_tars(), "n01443537.tar": content}))
    with pytest.raises(BadInputError, match=message):
        prepare_imagenet(folder, tmp_path / "imagenet", only="train")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "--synsets is missing.*--only train"),
        (dict(only="train"), r"holds neither ILSVRC2012_img_train.tar nor .*image-net.org/download.php"),
        (dict(only="val", synsets="list"), r"holds no validation picture.*ILSVRC2012_img_val.tar.*image-net.org"),
    ],
    ids=["synsets", "train", "val"],
)
def test_what_is_missing_is_named_with_its_source(tmp_path, options, message):
    (tmp_path / "downloads").mkdir()
    with pytest.raises(BadInputError, match=message):
        prepare_imagenet(tmp_path / "downloads", tmp_path / "imagenet", **options)


def test_the_folder_of_a_split_is_answered_with_the_one_above(downloads, tmp_path):
    with pytest.raises(BadInputError, match=r"--root .*imagenet, with --only val"):
        prepare_imagenet(downloads, tmp_path / "imagenet/val", synsets=downloads / "list.csv")
