"""Taints: prefer nodes without PreferNoSchedule taints that the class does not tolerate."""
