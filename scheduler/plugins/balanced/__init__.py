"""Balanced allocation: prefer nodes whose cpu and memory would be used alike."""
