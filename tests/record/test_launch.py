"""Which worker of how many this process is."""

from __future__ import annotations

import pytest

from pipespan.record.launch import Launch, launched_as


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({}, None),
        ({"RANK": "3"}, 3),
        ({"RANK": "x", "SLURM_PROCID": "2"}, 2),
        ({"RANK": "-1"}, None),
        ({"PMI_RANK": "0"}, 0),
    ],
)
def test_the_rank_comes_from_the_launcher(environ: dict[str, str], number: int | None) -> None:
    """The first of the known variables that holds a number."""
    assert launched_as(environ).rank == number


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "x"}, (3, 8, "torch.x.:3")),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"},
         (2, 4, "slurm.77.0:2")),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "n"}, (1, 2, "openmpi.n:1")),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, (1, 2, "mvapich:1")),
        ({"PMI_RANK": "5", "PMI_SIZE": "6"}, (5, 6, "pmi.:5")),
        ({"PMIX_RANK": "5", "PMIX_NAMESPACE": "n"}, (5, None, "pmix.n:5")),
    ],
)  # fmt: skip
def test_each_launcher_is_understood(environ: dict[str, str], expected: tuple[int, int | None, str]) -> None:
    """Number, size, and what tells one launch from another."""
    assert launched_as(environ) == Launch(*expected)


def test_a_batch_script_of_slurm_is_no_rank() -> None:
    """Slurm numbers the script itself 0, and the first task of each step that it starts too."""
    script = {"SLURM_PROCID": "0", "SLURM_JOB_ID": "77"}
    assert launched_as(script) == Launch()
    first = launched_as({**script, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"})
    assert (first.rank, first.world_size) == (0, 4)
