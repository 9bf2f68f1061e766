"""Least allocated: prefer nodes with the largest share of room left."""
