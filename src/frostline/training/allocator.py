"""Keep the memory of tensors that are done with: on Linux this is worth a third of the time of a network on a CPU."""

import ctypes
import os
import platform

# mallopt's parameters (malloc.h): below which size memory comes from the heap, how much of it is kept, and how much is
# asked for at once.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL = 2**31 - 1
_HEAP_BYTES = 2**30
_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for the next tensor, for the whole process.

    By default glibc gives every large tensor back to the kernel when an operation is done with it, and the kernel
    clears new pages for the next one. What the user has set about malloc (`MALLOC_…`, `GLIBC_TUNABLES`, another
    allocator) stays as it is.

    Returns:
        Whether it was done: only with glibc.
    """
    own = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_THRESHOLD, _HEAP_BYTES), (_TRIM_THRESHOLD, _ALL), (_TOP_PAD, _PAD_BYTES))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
