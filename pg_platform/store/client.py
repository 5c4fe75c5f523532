"""How the store is asked, and what is told where it does not answer."""

from __future__ import annotations

from dataclasses import dataclass

from pg_platform.config.errors import InfrastructureError


class StoreError(InfrastructureError):
    """The store refused or could not do what was asked; the message says what to do."""


class StoreUnavailableError(StoreError):
    """The store did not answer; the same call may succeed later."""


@dataclass(frozen=True)
class Patience:
    """For how many seconds a store that does not answer is tried again, and at what intervals."""

    total: float = 600.0
    first: float = 0.2
    longest: float = 10.0
