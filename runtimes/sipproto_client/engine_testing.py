"""A conformance suite for media engines: `check_media_engine` says whether one keeps the promises of `agent.media.MediaEngine`.

It needs no test framework, no event loop and no thread: each broken promise is an AssertionError that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sipproto.agent.media import AskKeyFrame, MediaEngine, MediaOperation, SendDigit, SetSenderParameters
from sipproto_client import _engine_checks as port
from sipproto_client import _engine_media_checks as media
from sipproto_client._engine_bench import Bench, EngineCase

_CHECKS: dict[str, Callable[[Bench], None]] = {
    check.__name__: check
    for check in (
        port.capabilities,
        port.returns_at_once,
        port.answers_once,
        port.unknown_calls,
        port.wrong_order,
        port.impossible_parameters,
        port.opened_transports,
        port.open_twice,
        port.restart_credentials,
        media.connects,
        media.without_bundle,
        media.hold_and_resume,
        media.lines,
        media.codecs,
        media.ice_restart,
        media.ignored_restart,
        media.rollback,
        media.fork,
        media.statistics,
        port.sender_parameters,
        port.key_frames,
        media.digits,
        media.many_calls,
        port.closed_calls,
        port.closed_calls_are_silent,
        port.closed_engine,
    )
}
OPTIONAL: frozenset[type[MediaOperation]] = frozenset({SetSenderParameters, AskKeyFrame, SendDigit})

ENGINE_CHECKS: tuple[str, ...] = tuple(_CHECKS)
"""The names of all checks, in the order in which they are made: for `checks`, or to make each a test of its own."""


def check_media_engine(
    make_engine: Callable[[], MediaEngine],
    *,
    has_media: bool = True,
    unsupported: frozenset[type[MediaOperation]] = frozenset(),
    patience: float = 10.0,
    checks: Iterable[str] = ENGINE_CHECKS,
) -> None:
    """Makes the checks, each with new engines. Raises AssertionError, with the promise that is not kept.

    make_engine: a new engine, with a certificate of its own, that reaches others on this machine and sends without being
    prepared; the suite closes it. has_media: packets flow and are counted; False for engines that only negotiate.
    unsupported: those of SetSenderParameters, AskKeyFrame and SendDigit that the engine answers with MediaFailed; it may
    not do them then. patience: seconds that anything may take, a connection as well; a hundredth of it is waited for what
    must not happen. Raises ValueError for operations and checks that are none of these.
    """
    if wrong := [kind.__name__ for kind in unsupported - OPTIONAL]:
        raise ValueError(f"every engine has to support {', '.join(wrong)}")
    wanted = list(checks)
    if unknown := [name for name in wanted if name not in _CHECKS]:
        raise ValueError(f"there are no checks {unknown}, but {list(_CHECKS)}")
    case = EngineCase(make_engine=make_engine, has_media=has_media, unsupported=unsupported, patience=patience)
    for name in wanted:
        _run(case, name, _CHECKS[name])


def _run(case: EngineCase, name: str, check: Callable[[Bench], None]) -> None:
    promise = (check.__doc__ or "").partition("\n")[0]
    bench = Bench(case)
    try:
        try:
            check(bench)
            bench.moment()  # what comes too much comes now
        finally:
            bench.close()
    except AssertionError as error:
        raise AssertionError(f"{name}: {error} (the promise: {promise})") from error
    except Exception as error:  # of a negotiator that was given nonsense, for example
        raise AssertionError(f"{name}: {type(error).__name__}: {error} (the promise: {promise})") from error
