"""Score plugins in the tree, one package each: `plugin.py` reads like prose, `kernel.py` has the loop."""
