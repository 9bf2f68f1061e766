"""Tests on a real control plane: see tests/controlplane."""
