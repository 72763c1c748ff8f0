"""Upload the documents of `demo/documents`, follow what happens to them, say where to look. Exit code 1 on failure."""

import argparse
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from demo import product
from demo.client import Client
from demo.errors import DemoError
from demo.product import Product
from demo.screen import Screen
from demo.watch import HEAD, Watched

DOCUMENTS = Path(__file__).parent / "documents"
PATIENCE_SECONDS = 90.0
LOOK_AGAIN_SECONDS = 0.2
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run the demo; returns its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("documents", nargs="*", type=Path, help="other documents to upload")
    paths = parser.parse_args(arguments).documents or sorted(DOCUMENTS.iterdir())
    screen = Screen()
    # `kill` ends it like Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with product.found_or_started(screen.say) as running:
            succeeded = show(running, paths, screen)
            if running.own and sys.stdin.isatty() and screen.is_terminal:
                screen.say("\nIt goes on running, so that you can look now; Ctrl-C stops it.")
                signal.pause()
    except DemoError as error:
        screen.say(f"make: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if succeeded else 1


def show(running: Product, paths: list[Path], screen: Screen) -> bool:
    """Do the whole show; False if a document did not end as it should."""
    client = Client(running.url, running.key)
    try:
        screen.say(f"Product: {running.url}")
        workflow_id = client.switch_on()
        try:
            watched = upload(client, paths, screen)
            follow(client, workflow_id, watched, screen)
        finally:
            with suppress(DemoError):
                client.switch_off(workflow_id)
    finally:
        client.close()
    conclude(running, workflow_id, watched, screen)
    return all(item.succeeded for item in watched)


def upload(client: Client, paths: list[Path], screen: Screen) -> list[Watched]:
    """Upload all documents, each with its bar."""
    screen.say("\nUploading:")
    watched = []
    for path in paths:
        if not path.is_file():
            raise DemoError(f"{path} is not a file")
        size, sent = path.stat().st_size, 0

        def count(part: int, name: str = path.name, total: int = size) -> None:
            nonlocal sent
            if part:
                sent += part
                screen.bar(name, sent, total)

        watched.append(Watched(path, client.upload(path, sent=count)))
    return watched


def follow(client: Client, workflow_id: int, watched: list[Watched], screen: Screen) -> None:
    """Draw where each document is, until all have ended or the patience has."""
    screen.say("\nWhat the workers do with them:")
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not all(item.is_over for item in watched) and time.monotonic() < give_up_at:
        for item in watched:
            item.look(client, workflow_id)
        screen.table(HEAD, [item.row for item in watched])
        time.sleep(LOOK_AGAIN_SECONDS)


def conclude(running: Product, workflow_id: int, watched: list[Watched], screen: Screen) -> None:
    """Say what came out and where to look."""
    screen.say("\nWhat came out:")
    for item in watched:
        screen.say(f"  {item.path.name:<26} {item.result}")
    admin = f"{running.url}/admin"
    screen.say("\nLook at it in the admin" + (", after `make run`:" if running.own else ":"))
    screen.say(f"  {'the workflow':<26} {admin}/workflows/workflow/{workflow_id}/change/")
    for item in watched:
        screen.say(f"  {item.path.name:<26} {admin}/files/file/{item.file_id}/change/")
        if item.execution:
            screen.say(f"  {'':<26} {admin}/workflows/execution/{item.execution['id']}/change/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
