"""What a plugin is, and which plugins a profile runs."""
