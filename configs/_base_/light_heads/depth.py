# A depth decoder that trains on two CPU cores; the architecture stays.
model = dict(decode_head=dict(channels=64))
