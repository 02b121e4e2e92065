# RetinaNet on a few pictures.
_base_ = ["coco.py", "../light_heads/retinanet.py"]
