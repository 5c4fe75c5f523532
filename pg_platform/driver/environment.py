"""What Ray reads from the environment when it is imported: set before that, in one place."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pg_platform.config.paths import store_root

_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no call home
    "RAY_AIR_NEW_OUTPUT": "0",  # our own table instead of Tune's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # rows go to MLflow, once
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C lets trials checkpoint
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # also how often a worker may report
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",  # its exporter wants the dashboard
}


def prepare(address: str | None, root: Path | None = None) -> None:
    """Set what Ray is to find: the cluster at `address`, else a private one behind a token.

    Ray's ports of a private cluster listen on every interface whatever its node address is, so
    it admits only holders of a token that this process makes and its children inherit. Their
    current folder is another, so the store, `root`, is named to them by its absolute path. Called
    again in one process it leaves the token: Ray keeps the one with which it started first.
    """
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)
    # A worker runs in another folder, where a relative one, or the default, would be another.
    os.environ["PG_HOME"] = str(root or store_root())
    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    if "RAY_ADDRESS" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
