"""What every test has: a store of its own, and not the user's."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let replay store what it records among the temporary files of this run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_STORE", str(tmp_path_factory.mktemp("store")))
        yield
