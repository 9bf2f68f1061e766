"""Load generator, trace replay and reports, over the public API only."""
