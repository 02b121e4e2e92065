# A UPerNet that trains on two CPU cores; the architecture stays.
model = dict(decode_head=dict(channels=64), auxiliary_head=dict(channels=32))
