"""The extraction child: reads one file from standard input and answers on standard output.

Started by `files.child_process` as a plain program with an empty environment, or forked by `files.fork_server_main`,
which has one. It holds no keys and no database, imports no Django, and confines itself before it looks at the first
byte of the file.

Its job is `extract`, or `make`, which `files.making_child` does and answers in its own way.
An extraction answers in JSON lines: any number of {"text": str}, then one of
{"done": {metadata, tables, truncated, warnings}} or {"error": {code, message}}. An answer without this line means
that the child died.
What costs more than the text follows `done`, which then stands by itself: {"reading": name of what comes}, then
{"page": {number, offset, text, confidence, language}}, {"tables": [...]} or {"warning": str}.
"""

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
# At most 15 bytes; stands in /proc/<pid>/comm.
PROCESS_NAME = b"file-child"
_LINE_CHARACTERS = 256 * 1024


def main() -> None:
    """Do the job of the argument."""
    run(json.loads(sys.argv[1]))


def run(request: dict[str, Any]) -> None:
    """Confine this process, do the request's job, answer.

    The request: `job`, what the job wants, `limits`, and `parent`, the process that this one must not outlive.
    """
    confine(request["limits"], parent=request["parent"])
    if request["job"] == "make":
        _make(request)
    else:
        answer(request["extension"], request["limits"])
    sys.stdout.flush()


def _make(request: dict[str, Any]) -> None:
    from files import making_child
    from files.extractors.base import Limits

    making_child.make(request, _content(), Limits(**request["limits"]))


def _content() -> bytes:
    """Return the file's bytes. Where the descriptor stands is of no account: others may read from it as well."""
    size = os.fstat(0).st_size
    content = os.pread(0, size, 0)
    while len(content) < size and (more := os.pread(0, size - len(content), len(content))):
        content += more
    return content


def confine(limits: dict[str, Any], *, parent: int) -> None:
    """Give up the network, outliving the parent, and all but the allowed resources, in this order."""
    hold_threads_down()
    _cut_off()
    if os.getppid() != parent:
        sys.exit("the parent died before the death signal was asked for")
    _offer_to_the_memory_killer()
    for name, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_NOFILE, limits["max_descriptors"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))
    # The soft limit sends SIGXCPU, which tells the parent why; the hard one kills what ignores it.
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))


def hold_threads_down() -> None:
    """Keep numeric libraries, which read this when they are loaded, from reserving address space per thread."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


def _cut_off() -> None:
    """Leave the network where the system allows it, die with the parent, and be told apart in lists of processes."""
    import ctypes

    libc = ctypes.CDLL(None)
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    # After unshare: a change of credentials clears the death signal.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NAME, PROCESS_NAME)


def _offer_to_the_memory_killer() -> None:
    """Let a system out of memory choose this process before its worker."""
    with suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"1000")
        os.close(descriptor)


def answer(extension: str, limit_values: dict[str, Any]) -> None:
    """Extract and write the answer; every exception becomes a code and a sentence."""
    from files.extractors import registry
    from files.extractors.base import ExtractionFailed, Limits

    limits = Limits(**limit_values)
    try:
        content = _content()
        result = registry.load(extension)(content, limits)
    except ExtractionFailed as error:
        _write({"error": {"code": error.code, "message": error.message}})
    except MemoryError:
        needs = f"The file needs more than {limits.memory_bytes // 1024**2} MiB of memory"
        _write({"error": {"code": "too_large", "message": needs}})
    except BaseException as error:  # noqa: BLE001  (extractors' panics pass `except Exception`)
        message = f"The extractor failed: {type(error).__name__}: {error}"[:500]
        _write({"error": {"code": "corrupt", "message": message}})
    else:
        _write_result(result)
        _read_on(extension, content, limits, result)


def _write_result(result: Any) -> None:
    for start in range(0, len(result.text), _LINE_CHARACTERS):
        _write({"text": result.text[start : start + _LINE_CHARACTERS]})
    done = {"metadata": result.metadata, "tables": result.tables, "truncated": result.truncated}
    _write({"done": done | {"warnings": result.warnings}})


def _read_on(extension: str, content: bytes, limits: Any, result: Any) -> None:
    """Read what costs more; whatever goes wrong with it is a warning, since the text has been told."""
    from files.extractors import registry
    from files.extractors.base import ExtractionFailed

    for name, read_later in registry.later_readers(extension):
        _write({"reading": name})
        try:
            for line in read_later(content, limits, result):
                _write(line)
        except ExtractionFailed as error:
            _write({"warning": f"{name} were not read: {error.message}"})
        except BaseException as error:  # noqa: BLE001  (see `answer`)
            _write({"warning": f"{name} were not read: {type(error).__name__}: {error}"[:300]})


def _write(line: dict[str, Any]) -> None:
    # ASCII with escapes carries lone surrogates, which the parent then strips.
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
