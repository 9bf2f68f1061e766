"""The unmodified cores in one thread under a seeded, hostile world."""
