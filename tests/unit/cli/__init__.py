"""The command line against canned services."""
