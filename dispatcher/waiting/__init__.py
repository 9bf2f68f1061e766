"""Who waits: active in order, backing off by time, or parked until something changes."""
