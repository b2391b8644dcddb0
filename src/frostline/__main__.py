"""`python -m frostline`: the command, for what starts modules, as `torchrun -m` and `accelerate launch --module` do."""

import sys

from frostline.cli import main
from frostline.processes import is_one_of_several


def _leave() -> None:
    """Take leave of the other processes: one whose threads still listen to them aborts as it ends."""
    if is_one_of_several() and "torch.distributed" in sys.modules:
        import torch.distributed as several

        if several.is_initialized():
            several.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    finally:
        _leave()
