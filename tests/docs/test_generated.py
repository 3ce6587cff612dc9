from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_generated_references_are_current():
    """The pages on commands and settings say what the code says."""
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "generate_docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
