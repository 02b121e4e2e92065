"""A data set in COCO's format, of random pictures: for what reads files and not what they show."""

import json

import cv2
import numpy as np

CLASSES = ("box", "sphere")


def write_coco(root, num_pictures=3):
    """A whole, tiny data set; returns its content."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    images, annotations = [], []
    (root / "pictures").mkdir(parents=True)
    for i in range(1, num_pictures + 1):
        cv2.imwrite(str(root / f"pictures/{i}.jpg"), picture)
        images.append(dict(id=i, file_name=f"{i}.jpg", height=40, width=50))
        annotation = dict(id=i, image_id=i, category_id=1, bbox=[2, 3, 10, 12], area=120, iscrowd=0)
        annotations.append({**annotation, "segmentation": [[2, 3, 12, 3, 12, 15, 2, 15]]})
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    write_annotations(root, content)
    return content


def write_annotations(root, content):
    (root / "boxes.json").write_text(json.dumps(content))
