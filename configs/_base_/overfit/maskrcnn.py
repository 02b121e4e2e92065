# Mask R-CNN on a few pictures.
_base_ = ["coco.py", "../light_heads/maskrcnn.py"]
