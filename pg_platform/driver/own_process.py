"""Training without Ray in a process of its own: one that dies of a signal is told of by another."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from pg_platform.config.experiment import Experiment
from pg_platform.training.failures import lasting, told
from pg_platform.training.history import Heartbeat, Outcome, Row
from pg_platform.training.loop import train
from pg_platform.training.worker import local_worker, worker_facts

ASKED_SECONDS = 0.1
"""How often the command looks whether it was asked to stop, while it waits for a word."""
_PROGRAM = (
    "import sys; sys.path[:] = {path}; from multiprocessing.connection import Connection; "
    "from pg_platform.driver.own_process import serve; serve(Connection({end}))"
)
"""Not by multiprocessing, which would run the caller's script once more to import it."""
_LEFT_TO_THE_COMMAND = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass(frozen=True)
class Order:
    """A segment to train: an experiment as text, where it writes, and the epoch where it pauses."""

    experiment: str
    folder: str
    until: int | None


@dataclass(frozen=True)
class Failed:
    """The segment ended with an error, one that `lasting` says would come again or not."""

    error: str
    lasting: bool = True


@dataclass(frozen=True)
class Damaged:
    """The segment goes on from an older checkpoint than the newest, and why."""

    told: str


Word = dict[str, str] | list[Row] | Heartbeat | Damaged | Outcome | Failed
"""What the process says of a segment: facts of its place, rows, how far it is, how it ended."""


class OwnProcess:
    """Trains one segment after the other. It starts with the first, and again after a death."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
        self._buried()

    def train(self, order: Order, asked: Callable[[], bool]) -> Iterator[Word]:
        """Words to the last one, which is an Outcome or Failed; once `asked`, it is told to stop.

        Where the process dies the last word names the signal.
        """
        told_to_stop = False
        with suppress(ConnectionError):
            connection = self._started()
            connection.send(order)
            while True:
                if asked() and not told_to_stop:
                    told_to_stop = True
                    connection.send(None)
                if not connection.poll(ASKED_SECONDS):
                    continue
                try:
                    word: Word = connection.recv()
                except EOFError:
                    break
                yield word
                if isinstance(word, Outcome | Failed):
                    return
        yield Failed(self._buried())

    def _started(self) -> Connection:
        if self.connection is None:
            self.connection, theirs = Pipe()
            end = theirs.fileno()
            command = [sys.executable, "-c", _PROGRAM.format(path=sys.path, end=end)]
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_THE_COMMAND)
            # with the mask, until it ignores them
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[end])
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return self.connection

    def _buried(self) -> str:
        """What the process died of, which is gone then."""
        code = None
        if self.connection is not None and self.process is not None:
            self.connection.close()
            code = self.process.wait()
        self.connection = self.process = None
        if code is None or code >= 0:
            return f"the training process ended with exit code {code} before its last word"
        name = signal.Signals(-code).name
        hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"the training process was killed by {name}{hint}"


def serve(connection: Connection) -> None:
    """What the process runs: segments, until the command has gone.

    A terminal or a scheduler sends its signals to all processes of a command. The command hears
    them, and says here what they ask for.
    """
    for number in _LEFT_TO_THE_COMMAND:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_COMMAND)
    with suppress(EOFError, ConnectionError):
        while True:
            order = connection.recv()
            if isinstance(order, Order):  # a word to stop that comes after the end asks for nothing
                connection.send(_trained(order, connection))


def _trained(order: Order, connection: Connection) -> Outcome | Failed:
    try:
        experiment = Experiment.model_validate_json(order.experiment)
        place = local_worker(experiment.resources)
        connection.send(worker_facts(experiment, place.device))
        return train(
            experiment,
            Path(order.folder),
            place=place,
            report=lambda rows: connection.send(list(rows)),
            should_stop=connection.poll,  # a word to stop, or the end of the command
            until=order.until,
            warn=lambda told: connection.send(Damaged(told)),
            beat=connection.send,
        )
    except ConnectionError:
        raise  # the command has gone
    except Exception as error:  # noqa: BLE001 - whatever ends a trial is told
        return Failed(told(error, order.folder), lasting(error))
