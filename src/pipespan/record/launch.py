"""This process's place among parallel workers that Slurm, torchrun, MPI or the like started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# For each launcher: its name, and the variables of rank, size, and of the launch's own id.
_LAUNCHERS: Final = (
    ("torch", "RANK", ("WORLD_SIZE",), ("TORCHELASTIC_RUN_ID", "MASTER_PORT")),
    ("slurm", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), ("SLURM_JOB_ID", "SLURM_STEP_ID")),
    ("openmpi", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), ("PMIX_NAMESPACE",)),
    ("mvapich", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",), ()),
    ("pmi", "PMI_RANK", ("PMI_SIZE",), ("PMI_ID",)),
    ("pmix", "PMIX_RANK", (), ("PMIX_NAMESPACE",)),
)


@dataclass(frozen=True, slots=True)
class Launch:
    """This process's place among parallel workers; all None where no launcher told one.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are, None too when the launcher does not say.
        worker: what this process and those that inherit its environment have in common, and no other worker has, of
            whatever launch.
    """

    rank: int | None = None
    world_size: int | None = None
    worker: str | None = None


def launched_as(environ: Mapping[str, str]) -> Launch:
    """Return the place that the variables of a launcher tell."""
    for launcher, name, sizes, ids in _LAUNCHERS:
        number = _count(environ.get(name))
        if number is not None and not (launcher == "slurm" and _is_batch_script(environ)):
            size = next((found for one in sizes if (found := _count(environ.get(one)))), None)
            launch = ".".join((launcher, *(environ.get(one, "") for one in ids)))
            return Launch(number, size, f"{launch}:{number}")
    return Launch()


def _is_batch_script(environ: Mapping[str, str]) -> bool:
    """Tell whether this is the script that a batch job consists of: Slurm numbers it, too, but it is no worker."""
    return environ.get("SLURM_PROCID") == "0" and not environ.get(
        "SLURM_STEP_ID", environ.get("SLURM_STEPID")
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None
