"""Score plugins in the tree, one package each: `plugin.py` for people, `kernel.py` for numba."""
