# RetinaNet on toy scenes.
_base_ = ["coco.py", "../light_heads/retinanet.py"]

model = dict(bbox_head=dict(num_classes=3))
