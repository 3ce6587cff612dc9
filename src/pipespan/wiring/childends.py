"""Leaves the exit status of a child with the rows that it recorded, for whoever writes the certificate."""

from __future__ import annotations

from pathlib import Path

from pipespan.spool.exitnote import ExitNote, is_of, write_exit_note
from pipespan.spool.orphans import find_streams
from pipespan.spool.owner import this_process


def note_child_end(
    spool_dirs: tuple[Path, ...], pid: int, start_ticks: int | None, note: ExitNote
) -> list[Path]:
    """Note the exit status of a child in the streams that it left; return their folders.

    Args:
        spool_dirs: where streams are.
        pid: of the child.
        start_ticks: when it started; None when that is not known.
        note: how it ended.
    """
    here = this_process()
    noted = []
    for spool_dir in spool_dirs:
        for found in find_streams(spool_dir):
            owner = found.meta.owner
            is_here = (owner.host, owner.boot_id) == (here.host, here.boot_id)
            if is_here and owner.pid_namespace == here.pid_namespace and is_of(owner, pid, start_ticks):
                write_exit_note(found.folder, note)
                noted.append(found.folder)
    return noted
