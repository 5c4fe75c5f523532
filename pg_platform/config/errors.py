"""What is nobody's mistake in a file."""


class InfrastructureError(RuntimeError):
    """A service that the platform stands on (Ray, the store) cannot be had. Exit code 4."""
