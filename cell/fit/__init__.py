"""The hard rules that say whether a node may take a replica, one module per rule."""
