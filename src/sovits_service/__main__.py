"""`python -m sovits_service` takes the flags of `sovits-service serve`, and its other commands."""

from __future__ import annotations

import sys

from sovits_service.cli import main

if __name__ == "__main__":
    sys.exit(main(default_command="serve"))
