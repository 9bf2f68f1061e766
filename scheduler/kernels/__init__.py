"""Numba loops of the placement: plain arrays in, nothing allocated. Objects only configure them."""
