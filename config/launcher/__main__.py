"""`python -m config.launcher COMMAND`: what the Makefile calls."""

import argparse
import os
import signal
import sys

from config.env import BadSetting
from config.launcher import commands, plan, processes
from config.launcher.errors import LaunchError, StopRequested


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code. A failure is one line on standard error."""
    try:
        return _run(_parser().parse_args(arguments))
    except (LaunchError, BadSetting) as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"make: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        return 1
    except (StopRequested, KeyboardInterrupt):
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config.launcher", description=__doc__)
    sub = parser.add_subparsers(dest="name", required=True)
    sub.add_parser("up", help="servers, migrations, web, workers, beat")
    sub.add_parser("dev", help="the same with DEBUG and restarts on source changes")
    sub.add_parser("stop", help="stop the running one")
    sub.add_parser("logs", help="follow its log")
    sub.add_parser("beat", help="one more beat for the running one")
    worker = sub.add_parser("worker", help="one more worker for the running one")
    worker.add_argument("lane", choices=plan.LANES)
    inside = sub.add_parser("inside", help="a command with the product's environment")
    inside.add_argument("command", nargs="+")
    fresh = sub.add_parser("with-servers", help="a command with fresh servers in a temporary folder")
    fresh.add_argument("--fast", action="store_true", help="without durability, for tests")
    fresh.add_argument("command", nargs="+")
    return parser


def _run(options: argparse.Namespace) -> int:  # noqa: PLR0911
    if "MAKELEVEL" in os.environ:
        # `kill -9` of make must not leave us running without a terminal.
        processes.die_with_parent(signal.SIGTERM, parent=os.getppid())
    match options.name:
        case "up" | "dev":
            return commands.up(reload=options.name == "dev")
        case "stop":
            return commands.stop()
        case "logs":
            return commands.logs()
        case "worker":
            return commands.inside(plan.worker_command(options.lane, suffix=f"-{os.getpid()}"))
        case "beat":
            return commands.inside(plan.beat_command(plan.data_folder()))
        case "inside":
            return commands.inside(options.command)
        case _:
            return commands.with_servers(options.command, fast=options.fast)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
