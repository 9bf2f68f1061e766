"""Most allocated: prefer nodes that are nearly full, to keep others empty."""
