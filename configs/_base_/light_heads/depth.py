# A depth decoder that trains on two CPU cores; the architecture stays, and so does a head of another type.
model = dict(decode_head=dict(type="PyramidDepthHead", channels=64))
