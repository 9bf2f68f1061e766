"""Node affinity: prefer nodes that match the class's wishes."""
