"""Print a command of the README, so that what is checked is what people are told to type.

    python .ci/readme_command.py NAME

A command is the code block that follows the line `<!-- command: NAME -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
_BLOCK = re.compile(
    r"^<!-- command: (?P<name>[\w-]+) -->\n+```bash\n(?P<text>.*?)^```$", flags=re.DOTALL | re.MULTILINE
)


def commands(readme: str) -> dict[str, str]:
    """Return the marked commands of a README by name."""
    return {found["name"]: found["text"].strip() for found in _BLOCK.finditer(readme)}


def main(arguments: list[str]) -> int:
    """Print the command that is asked for; return the exit status."""
    known = commands(README.read_text(encoding="utf-8"))
    if len(arguments) != 1 or arguments[0] not in known:
        print(f"usage: readme_command.py {'|'.join(known)}", file=sys.stderr)
        return 2
    print(known[arguments[0]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
