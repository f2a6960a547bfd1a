"""Decoders, and the solvers and networks that they are made of."""
