"""What many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pg_platform.results.tracking import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real store; each test takes an experiment of its own in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with Store.open(tmp_path_factory.mktemp("store")) as opened:
            yield opened
