"""Benchmarks: ratios to a null pipeline measured in the same run (DESIGN §8). `make bench`."""
