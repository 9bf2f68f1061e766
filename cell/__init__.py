"""The nouns and the shared state of a cell, pure: every other package may see it, it sees none."""
