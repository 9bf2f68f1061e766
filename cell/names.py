"""Names that clients and peers pick: they are shown in lines and tables as they are."""

NAME_BYTES_MAX = 253
"""Bytes of a name of a node or of a peer."""
UNSHOWABLE = "has whitespace or an unprintable character"


def is_showable(text: str) -> bool:
    """Whether a name, or many joined, has neither whitespace nor what cannot be printed."""
    # A space is the only whitespace that counts as printable.
    return text.isprintable() and " " not in text


def is_name(text: str) -> bool:
    """Whether `text` can name a node or a peer."""
    return 0 < len(text.encode()) <= NAME_BYTES_MAX and is_showable(text)
