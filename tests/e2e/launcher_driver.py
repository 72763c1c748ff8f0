"""Run a real supervisor with stand-in children, described as JSON: what `test_launcher` starts and kills.

`{"folder": ..., "servers": bool, "children": [{"name", "command", "stage", "stop_seconds"}]}`.
Prints one JSON line `{"urls", "pids"}` when everything runs.
"""

import json
import os
import sys
from pathlib import Path

from config.launcher import commands, servers
from config.launcher.errors import LaunchError
from config.launcher.output import Console
from config.launcher.processes import MARKER
from config.launcher.state import DataFolder
from config.launcher.supervisor import Child

BACKOFF_SECONDS = 0.02


def main(spec: dict[str, object]) -> int:
    data = DataFolder(Path(str(spec["folder"])))
    environ = dict(os.environ) | {MARKER: str(data.path)}
    with commands.held(data):
        console = Console(data.logs / "run.log")
        with commands.supervised(console, backoff_seconds=BACKOFF_SECONDS) as supervisor:
            wanted = bool(spec.get("servers"))
            urls = servers.start(supervisor, data, postgres=wanted, valkey=wanted)
            for child in spec.get("children", []):  # type: ignore[attr-defined]
                supervisor.start(Child(env=environ, cwd=data.path, **child))
            console.say(json.dumps({"urls": urls, "pids": supervisor.pids}))
            supervisor.run()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(json.loads(sys.argv[1])))
    except LaunchError as error:
        sys.exit(f"make: {error}")
