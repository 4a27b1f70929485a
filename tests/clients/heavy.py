"""Programs of other people with the service behind them, each in a process of its own: `make test-clients`.

They live in an environment beside this one, `.venv/clients`, since they bring much along and pin what we use too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Served, environment, make_checkout, start_server

CLIENTS = ROOT / ".venv/clients"
_HAS_NODE = (CLIENTS / "node/node_modules").is_dir()
PROGRAMS = sorted(
    program
    for program in (Path(__file__).parent / "programs").iterdir()
    if program.suffix == ".py" or (program.suffix == ".mjs" and _HAS_NODE)
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = start_server(make_checkout(tmp_path_factory.mktemp("clients") / "checkout"))
    server.wait_until_ready()
    yield server
    server.end()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_program_hears_the_speech(served: Served, program: Path, tmp_path: Path) -> None:
    if program.suffix == ".mjs":  # modules are looked for beside the program
        target = CLIENTS / "node" / program.name
        target.write_bytes(program.read_bytes())
        command = ["node", str(target)]
    else:
        command = [str(CLIENTS / "bin/python"), str(program)]
    result = subprocess.run(
        [*command, served.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
