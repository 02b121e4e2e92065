# Semantic FPN on a few pictures.
_base_ = ["segmentation.py", "../light_heads/semfpn.py"]

model = dict(data_preprocessor=dict(size=(320, 320)))
