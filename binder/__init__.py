"""The ledger of who has what room, and the commits that change it."""
