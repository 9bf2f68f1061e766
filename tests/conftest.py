"""Settings of every pytest run: properties have no deadline, because a kernel may compile first."""

from hypothesis import settings

settings.register_profile("godel", deadline=None, print_blob=True)
settings.load_profile("godel")
