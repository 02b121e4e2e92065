# Mask R-CNN on toy scenes.
_base_ = ["coco.py", "../light_heads/maskrcnn.py"]

model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
