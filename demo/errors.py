"""What ends the demo with one line."""


class DemoError(Exception):
    """The demo cannot go on; the text is what its user reads."""
