"""A folder to run commands from, as the clone is to a user, with tiny data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import ROOT

from effvit_mm.datasets.toy_export import ensure_toy_scenes

# Toy scenes go under COCO's names here: their shapes are pictures of nothing else.
COCO_NAMES = {"box": "suitcase", "sphere": "sports ball", "cylinder": "cup"}


class Workplace:
    """Runs commands in a folder that looks like the clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tools", "configs"):
            (folder / name).symlink_to(ROOT / name)
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
        # The commands say `python` and `torchrun`: they mean those of the environment the tests run in.
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess:
        words = command.split()
        if options and "--cfg-options" not in words:
            words.append("--cfg-options")
        return subprocess.run(
            [*words, *options],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def succeeds(self, command: str, *options: str) -> str:
        done = self.run(command, *options)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def metrics(self, name: str) -> dict:
        return json.loads((self.folder / "work_dirs" / name / "metrics.json").read_text())

    def make_coco(self) -> None:
        """Write a COCO data set of six pictures under ``data/coco``."""
        made = ensure_toy_scenes(self.folder / "made", num_train=4, num_val=2)
        (self.folder / "data").mkdir(exist_ok=True)
        (made / "coco").rename(self.folder / "data/coco")
        from mmdet.datasets import CocoDataset

        ids = {name: i for i, name in enumerate(CocoDataset.METAINFO["classes"], 1)}
        for file in (self.folder / "data/coco/annotations").iterdir():
            content = json.loads(file.read_text())
            new_ids = {category["id"]: ids[COCO_NAMES[category["name"]]] for category in content["categories"]}
            for annotation in content["annotations"]:
                annotation["category_id"] = new_ids[annotation["category_id"]]
            content["categories"] = [dict(id=i, name=name) for name, i in ids.items()]
            file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("clone"))
