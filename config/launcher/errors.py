"""What the launcher can fail with."""


class LaunchError(Exception):
    """The start cannot go on. Its text is the one line that the operator sees."""


class StopRequested(Exception):  # noqa: N818  (news, not an error)
    """Ctrl-C, SIGTERM or SIGHUP came while something was being waited for."""
