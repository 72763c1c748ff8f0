"""The step before everything: a missing piece of the machine is one clear line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import isolation

SCRIPT = Path(__file__).resolve().parents[3] / "config" / "launcher" / "bootstrap.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project with the script and one requirement that needs the package index."""
    root = tmp_path / "project"
    (root / "config" / "launcher").mkdir(parents=True)
    (root / "requirements").mkdir()
    shutil.copy(SCRIPT, root / "config" / "launcher" / "bootstrap.py")
    (root / "requirements" / "embedded.txt").write_text(f"packaging==99.0 --hash=sha256:{'0' * 64}\n", encoding="ascii")
    return root


def bootstrap(root: Path, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script, after some Python code that takes something away from it."""
    script = str(root / "config" / "launcher" / "bootstrap.py")
    code = f"import runpy, sys\n{before}\nsys.argv[1:] = ['embedded']\nrunpy.run_path({script!r}, run_name='__main__')"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run([sys.executable, "-c", code], env=kept | environ, text=True, capture_output=True, check=False)


def test_an_old_python_is_one_line(project: Path) -> None:
    done = bootstrap(project, "sys.version_info = (3, 10, 2)")

    assert done.returncode == 1
    assert done.stderr == (
        f"make: Python 3.11 or newer is needed, {sys.executable} is Python 3.10; "
        "name another one: make PYTHON=/path/to/python3.11\n"
    )
    assert not (project / ".venv").exists()


def test_a_missing_python3_venv_is_one_line(project: Path) -> None:
    before = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: n != 'ensurepip' and find(n)"

    done = bootstrap(project, before)

    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert done.stderr == f"make: python3-venv is missing; on Debian or Ubuntu: apt install python{here}-venv\n"


def test_an_unwritable_project_is_one_line(project: Path) -> None:
    # A file in the place of the folder stops root too, which permissions do not.
    (project / ".venv").touch()

    done = bootstrap(project)

    assert done.returncode == 1
    assert done.stderr.startswith(f"make: cannot make {project / '.venv'}: ")
    assert len(done.stderr.splitlines()) == 1


def test_no_internet_is_one_line_and_leaves_no_stamp(project: Path) -> None:
    environ = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}

    done = bootstrap(project, **environ)

    assert done.returncode == 1
    assert done.stderr == (
        "make: cannot reach the Python package index (no internet?); connect and run the same command again\n"
    )
    assert not (project / ".venv" / "installed-embedded").exists()


def test_the_same_requirements_are_installed_once(project: Path) -> None:
    # Nothing to install: pip itself is not asked for anything that needs a network.
    (project / "requirements" / "embedded.txt").write_text("# nothing\n", encoding="ascii")

    first, second = bootstrap(project), bootstrap(project)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.splitlines()[-1].startswith("Installing requirements/embedded.txt into .venv")
    assert second.stdout == ""


def test_an_environment_of_another_python_is_made_anew(project: Path) -> None:
    (project / "requirements" / "embedded.txt").write_text("# nothing\n", encoding="ascii")
    assert bootstrap(project).returncode == 0
    # As after an upgrade of the machine: the interpreter looks for its packages in a folder that is not there.
    [packages] = (project / ".venv" / "lib").glob("python3.*")
    packages.rename(packages.with_name("python3.0"))

    done = bootstrap(project)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" with ")[0].split(" into ")[0] for line in done.stdout.splitlines()] == [
        "Making .venv",
        "Installing requirements/embedded.txt",
    ]
    assert packages.is_dir()


@pytest.mark.parametrize(("worker", "database"), [(0, "/1"), (1, "/2"), (14, "/15"), (15, "/1")])
def test_each_parallel_test_process_has_a_broker_database_of_its_own(worker: int, database: str) -> None:
    url = isolation.broker_url("redis://:pw@127.0.0.1:6379/0", worker)

    assert url == f"redis://:pw@127.0.0.1:6379{database}"
