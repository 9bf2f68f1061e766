"""Pod affinity: prefer domains with those whom the class wants, or who want it."""
