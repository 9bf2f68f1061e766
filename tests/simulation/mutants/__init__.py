"""Planted bugs that prove the simulator: each must be found by a rule of the auditor.

A mutant is a .toml file here: `why` says what it breaks, `edit` entries replace one passage each.
It is applied to a copy of the tree, never to the tree itself.
"""
