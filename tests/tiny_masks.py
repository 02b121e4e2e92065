"""Pictures and index masks in ADE20K's layout, of random pictures: for what reads files and not what they show."""

import cv2
import numpy as np

CLASSES = ("floor", "wall", "box")
SIZE = (40, 50)


def write_masks(root, num_pictures=3, size=SIZE, first=0):
    """A whole, tiny data set whose classes count from `first`; each mask has all of them."""
    rng = np.random.default_rng(0)
    for split in ("training", "validation"):
        for i in range(1, num_pictures + 1):
            picture, mask = picture_path(root, i, split), mask_path(root, i, split)
            for file in (picture, mask):
                file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(picture), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
            labels = np.full(size, first, np.uint8)
            labels[:, 10:] = first + 1
            labels[5 : 5 + 4 * i, 20:40] = first + 2
            cv2.imwrite(str(mask), labels)


def picture_path(root, number, split="training"):
    return root / "images" / split / f"street_{number}.jpg"


def mask_path(root, number, split="training"):
    return root / "annotations" / split / f"street_{number}.png"
