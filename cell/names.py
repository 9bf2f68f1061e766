"""Names that clients pick, of units and nodes: they are shown in lines and tables as they are."""

UNSHOWABLE = "has whitespace or an unprintable character"


def is_showable(text: str) -> bool:
    """Whether a name, or many joined, has neither whitespace nor what cannot be printed."""
    # A space is the only whitespace that counts as printable.
    return text.isprintable() and " " not in text
