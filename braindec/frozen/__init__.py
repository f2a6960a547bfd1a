"""Pretrained networks that are never trained here, behind one contract (`braindec.frozen.base.FrozenNetwork`)."""
