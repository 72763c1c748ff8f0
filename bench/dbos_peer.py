"""DBOS in a process of its own: workflows of trivial steps, timed from inside. Run as a `processes.Peer`."""

import os
import time

from dbos import DBOS

from bench.processes import requests


@DBOS.step()
def trivial(number: int) -> int:
    """Do nothing, durably."""
    return number


@DBOS.workflow()
def in_row(steps: int) -> None:
    """Run `steps` steps one after the other."""
    for number in range(steps):
        trivial(number)


def main() -> None:
    """Answer `{"workflows": n, "steps": m}` with the seconds that n workflows of m steps took."""
    url = os.environ["DBOS_DATABASE_URL"]
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "WARNING"})
    DBOS.launch()
    try:
        for request, answer in requests():
            began_at = time.perf_counter()
            for _ in range(request["workflows"]):
                in_row(request["steps"])
            answer(time.perf_counter() - began_at)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main()
