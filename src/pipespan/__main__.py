"""Entry point of the `pipespan` command and of `python -m pipespan`."""

from __future__ import annotations

import sys

from pipespan.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
