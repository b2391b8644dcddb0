"""torch.compile, anew in each phase: the whole network, or what trains where what is frozen is looked up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from frostline.freezing import FreezePlan
from frostline.selection import HEAD, parents_of

COMPILER = "inductor"
WHOLE = ("",)
# Torch counts all modules together, each in train and eval mode, with whole and last batches; and then compiles nothing
# more, without a word.
_MOST_PROGRAMS = 512


def trained_regions(plan: FreezePlan) -> tuple[str, ...]:
    """Name the largest modules that a plan trains as a whole, but for the head.

    A head is quick as it is written, and what is replayed may come out in the middle of it, behind its pooling.
    """
    body = [name for one in plan.parameters if one.stage != HEAD for name in (one.name, *one.aliases)]
    # The parts of an adapter are called by the layer that it is around, one by one, and that layer is held in part.
    around = set(plan.adapted)
    roots = [root for root in plan.trained_roots if not around.intersection(parents_of(root))]
    return tuple(root for root in roots if any(name.startswith(f"{root}.") for name in body))


@contextmanager
def compiled(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Compile modules of a network, for as long as it lasts.

    Torch compiles again where something else needs gradients, a few times, and then runs it as it is written
    (pytorch#139476): here what it knew of phases before is forgotten.

    Args:
        model: the network.
        names: of the modules, none of which is in another; none: nothing is compiled, nor its compiler loaded.
    """
    if not names:
        yield
        return
    import torch._dynamo  # not at the top: it takes seconds

    modules = [model.get_submodule(name) for name in names]
    torch.compiler.reset()
    try:
        for module in modules:
            module.compile(backend=COMPILER)
        with torch._dynamo.config.patch(recompile_limit=_MOST_PROGRAMS, accumulated_recompile_limit=_MOST_PROGRAMS):
            yield
    finally:
        for module in modules:
            module._compiled_call_impl = None
