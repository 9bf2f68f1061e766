"""Who waits, in what order, and which scheduler tries next."""
