"""What the launcher can fail with."""


class LaunchError(Exception):
    """The start cannot go on. Its text is the one line that the operator sees."""


class StopRequested(Exception):
    """Ctrl-C, SIGTERM or SIGHUP came while something was being waited for."""
