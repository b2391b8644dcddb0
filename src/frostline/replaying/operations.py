"""Operations of torch by name: which ask for shapes alone, which read values, and which write into their arguments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frostline.replaying.keeping import tensors_of
from frostline.replaying.refusal import Refusal

# Questions that shape, type and place answer.
_METHODS_ABOUT = frozenset(
    """
    dim ndimension size stride numel nelement element_size storage_offset is_contiguous is_floating_point is_complex
    is_signed is_inference is_pinned is_shared is_conj is_neg get_device __len__ __hash__ __repr__ __format__ __dir__
    _is_view has_names dim_order is_set_to
""".split()
)
_ATTRIBUTES_ABOUT = frozenset(
    """
    shape dtype device ndim layout is_cuda is_cpu is_mps is_xpu is_meta is_sparse is_sparse_csr is_mkldnn is_quantized
    is_nested is_leaf requires_grad grad grad_fn itemsize nbytes names output_nr retains_grad _version volatile
    is_vulkan is_ipu is_maia is_xla is_mtia _base _backward_hooks
""".split()
)
_POINTERS = frozenset(
    "data_ptr untyped_storage storage _typed_storage numpy __array__ __dlpack__ tolist item __bool__".split()
)
_READS = frozenset(
    """
    item tolist numpy __bool__ __int__ __float__ __index__ __array__ __contains__ nonzero equal allclose is_nonzero
    masked_select unique __dlpack__
""".split()
)
_IN_PLACE = frozenset(
    """
    __setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ __iand__ __ior__ __ixor__ copy_
""".split()
)


def name_of(func: Callable[..., Any]) -> str:
    """Name a function of torch as a person knows it; an attribute by its own name."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__"):
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    return name


def is_about_the_tensor(func: Callable[..., Any]) -> bool:
    """Whether a function of torch asks for a tensor's shape, type or place, and for no values."""
    if getattr(func, "__name__", "") == "__get__":
        return name_of(func) in _ATTRIBUTES_ABOUT
    return name_of(func) in _METHODS_ABOUT


def needs_memory(name: str) -> bool:
    """Whether an operation needs the place in memory where values lie."""
    return name in _POINTERS


def reads_values(name: str) -> bool:
    """Whether an operation takes values out of a tensor, which may decide what runs."""
    return name in _READS


def writes_into(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Give the tensor, or the tensors, that an operation writes into, or None."""
    if kwargs.get("out") is not None:
        return kwargs["out"]
    name = name_of(func)
    in_place = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")) or kwargs.get("inplace")
    return args[0] if in_place and args else None


def written_by(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    given: Sequence[Tensor],
    versions: Sequence[int],
) -> list[Tensor]:
    """Give the tensors that an operation has written into.

    Args:
        func: of torch, which has run.
        args: its arguments.
        kwargs: those by name.
        given: the tensors among them.
        versions: what `versions_of` gave for these before.
    """
    targets = tensors_of(writes_into(func, args, kwargs))
    # An operation may say by place that it writes.
    return targets + [one for one, old, new in zip(given, versions, versions_of(given), strict=True) if old != new]


def storage_of(tensor: Tensor) -> int:
    """Identify the memory that a tensor's numbers lie in; views share it.

    Raises:
        Refusal: the tensor is sparse, or of another layout without one.
    """
    try:
        with torch._C.DisableTorchFunction():  # a flow would take the question for the network's own doing
            return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        raise Refusal(f"it works with tensors of layout {tensor.layout}") from None


def versions_of(tensors: Sequence[Tensor]) -> list[int]:
    """Count how often tensors were written into; of those of inference mode nobody keeps count."""
    return [-1 if tensor.is_inference() else tensor._version for tensor in tensors]
