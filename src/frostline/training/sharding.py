"""FSDP2: every process keeps a part of every weight, and all gather what is to be written or read as a whole.

torch's own `fully_shard`, not Accelerate's, which leaves it out on a CPU. Phases need not shard anew, as they wrap anew
for DDP: what is sharded asks in every step what needs a gradient.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from frostline.errors import NetworkError


def shard(model: nn.Module, blocks: Sequence[str], *, processes: int) -> None:
    """Let each process keep a part of every parameter, in place; all have the same values when it begins.

    Args:
        model: placed.
        blocks: names of modules that are gathered one after another; what is in none of them is gathered together, and
            where tensors are tied, all is.
        processes: how many.

    Raises:
        NetworkError: torch cannot shard it.
    """
    tied = len([*model.named_parameters(remove_duplicate=False)]) > len([*model.parameters()])
    parts = () if tied else blocks
    mesh = init_device_mesh(next(model.parameters()).device.type, (processes,))
    try:
        for part in (*map(model.get_submodule, parts), model):
            # Not the outermost either: between steps parameters are to be those that the optimizer has.
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
    except (ValueError, AssertionError, NotImplementedError) as error:
        found = str(error).partition("\n")[0]
        raise NetworkError("shard", found=f"torch cannot shard it ({found})", do="leave `shard` out") from None


@torch.no_grad()
def put(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy whole values, the same in every process, into tensors that may be sharded.

    Args:
        tensors: by name.
        values: of some of them.
    """
    for name, value in values.items():
        tensor = tensors[name]
        if isinstance(tensor, DTensor):
            placed = value.to(device=tensor.device, dtype=tensor.dtype)
            value = distribute_tensor(placed, tensor.device_mesh, tensor.placements, src_data_rank=None)
        tensor.copy_(value)
