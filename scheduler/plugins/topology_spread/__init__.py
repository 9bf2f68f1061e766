"""Topology spread: prefer domains with few of those whom the class is spread with."""
