"""What a process takes of the system when it begins."""

import subprocess
import sys

import pytest

_SAYS = """
import gc, resource, sys
from orderflow import process
from orderflow.settings import Settings
soft, hard, process._MOST_OPEN = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
process.begin(Settings(_env_file=None), "test")
print(*resource.getrlimit(resource.RLIMIT_NOFILE), gc.get_threshold()[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "most", "taken"), [(256, 700, 1000, 700), (256, 700, 500, 500), (600, 700, 500, 600)]
)
def test_a_process_takes_the_open_files_that_it_may_have(soft: int, hard: int, most: int, taken: int) -> None:
    command = [sys.executable, "-c", _SAYS, str(soft), str(hard), str(most)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == [str(taken), str(hard), "20000"]
