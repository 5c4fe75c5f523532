"""What another terminal asks of a sweep, done by its driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pg_platform.cluster.conductor import Conductor
from pg_platform.cluster.control import Control, Request, Unread


def obey(
    conductor: Conductor,
    control: Control,
    ask_to_stop: Callable[[Sequence[str]], None],
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Carry out what was asked since the last call, and keep the status that others read.

    `stopping` is told that all is to stop. Raises KeyboardInterrupt for `cancel`: running trials
    go on from their last checkpoint.
    """
    for request in control.requests():
        match request:
            case Unread(file=file, why=why):
                conductor.record.say(f"a request was not understood and lies in {file}: {why}")
            case Request():
                _obey(conductor, request, ask_to_stop, stopping)
    control.write({"running": True, "trials": conductor.record.screen.states()})


def _obey(
    conductor: Conductor,
    request: Request,
    ask_to_stop: Callable[[Sequence[str]], None],
    stopping: Callable[[], None],
) -> None:
    match request.verb:
        case "stop":
            conductor.record.verdict.stopped = True
            conductor.close("asked to stop")
            stopping()
            ask_to_stop(list(conductor.running))
        case "cancel":
            conductor.record.verdict.cancelled = True
            conductor.close("cancelled")
            raise KeyboardInterrupt
        case "kill":
            trials = [t for t in conductor.trials.values() if request.trial in (t.id, t.name)]
            for trial in trials:
                if conductor.leave_out(trial.id, "killed"):
                    ask_to_stop([trial.id])
            if not trials:
                conductor.record.say(f"asked to kill {request.trial}, which is no trial here")
