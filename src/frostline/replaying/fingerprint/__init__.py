"""What a data set is: one digest of all that it holds, and whether it is random."""

from frostline.replaying.fingerprint.digest import Fingerprint, fingerprint
from frostline.replaying.fingerprint.opened import OpenedFiles
from frostline.replaying.fingerprint.randomness import RandomWatch, known_random, numpy_state

__all__ = ["Fingerprint", "OpenedFiles", "RandomWatch", "fingerprint", "known_random", "numpy_state"]
