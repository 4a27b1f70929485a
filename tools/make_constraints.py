"""The installed packages in; pinned lines out, with markers where a pin does not fit every Python.

Usage: .venv/bin/python tools/make_constraints.py > constraints.txt
"""

from __future__ import annotations

import glob
import sys
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.version import Version

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
RAY = ".venv/ray/lib/python*/site-packages"  # what `make test-ray` has beside
NOT_PINNED = {"pip", "setuptools", "sovits-service"}


def pin(name: str, version: str, requires_python: str) -> str:
    """One line; a local part as in `2.13.0+cpu` is dropped, so that the CUDA build satisfies it too."""
    line = f"{name}=={Version(version).public}"
    fitting = [python for python in SUPPORTED if SpecifierSet(requires_python).contains(f"{python}.99")]
    bounds = []
    if fitting[0] != SUPPORTED[0]:
        bounds.append(f'python_version >= "{fitting[0]}"')
    if fitting[-1] != SUPPORTED[-1]:
        bounds.append(f'python_version <= "{fitting[-1]}"')
    if bounds:
        line += "; " + " and ".join(bounds)
    return line


def main() -> None:
    found = {
        dist.metadata["Name"].lower().replace("_", "-"): (dist.version, dist.metadata.get("Requires-Python") or "")
        for dist in distributions(path=[*sys.path, *glob.glob(RAY)])
    }
    print("# Made by tools/make_constraints.py from an environment that passed `make test`.")
    for name in sorted(found.keys() - NOT_PINNED):
        print(pin(name, *found[name]))


if __name__ == "__main__":
    main()
