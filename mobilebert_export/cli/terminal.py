"""What a terminal is given."""


def printable(text: str, encoding: str) -> str:
    """The text with escapes for what a terminal would obey and for what its encoding lacks."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped.encode(encoding, "backslashreplace").decode(encoding)
