"""Threads whose calls end in time. boto3's own times apply to each read, so a server could make one last for hours."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from kpi_kit.storage.errors import StorageUnavailableError
from kpi_kit.storage.threads import Threads

P = ParamSpec("P")
Result = TypeVar("Result")

# A call has one second more for so many bytes that it sends.
_LEAST_RATE = 64 * 1024


class ThreadCall:
    """What one thread does. When it has ended, no connection gives it a byte any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._shut_down: Callable[[], object] | None = None
        self._has_ended = False

    def use_socket(self, sock: socket.socket) -> None:
        """TimeoutError if the call has ended. TLS takes the socket itself over, so this has one of its own for it."""
        twin = socket.fromfd(sock.fileno(), sock.family, sock.type)
        try:
            self.use(partial(twin.shutdown, socket.SHUT_RDWR))
        except BaseException:
            twin.close()
            raise
        self._close_twin()
        self._twin = twin

    def use(self, shut_down: Callable[[], object]) -> None:
        """``shut_down`` ends the connection from which the thread reads next; TimeoutError if the call has ended."""
        with self._lock:
            self.check()
            self._shut_down = shut_down

    def check(self) -> None:
        if self._has_ended:
            raise TimeoutError

    def end(self) -> None:
        """Called from another thread."""
        with self._lock:
            self._has_ended = True
            if self._shut_down is not None:
                # The connection may have been closed, or given back to the pool, in this moment.
                with suppress(OSError, ValueError, RuntimeError):
                    self._shut_down()

    def leave(self) -> None:
        """Called by the thread when it has done with a connection: the next call to use that one may be another's."""
        with self._lock:
            self._shut_down = None
        self._close_twin()

    def _close_twin(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None


class _Local(threading.local):
    call: ThreadCall | None = None


_local = _Local()


class DaemonThreads:
    """At most ``count`` daemon threads, which are kept. A call that never returns does not delay the process's end.

    The caller takes ``free`` before ``do``, and releases it at the end of the work.
    """

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._is_closed = False

    def do(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if self._is_closed:
            # What cleans up may come after the end, and has a thread that ends with it.
            self._work.put(None)
        elif self._idle.acquire(blocking=False):
            return
        self._started += 1
        threading.Thread(target=self._run, name="kpi-storage", daemon=True).start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def note_idle(self) -> None:
        """Called by a thread, before the end of its work is known to others."""
        self._idle.release()

    def close(self) -> None:
        """Each thread ends with its work."""
        self._is_closed = True
        for _ in range(self._started):
            self._work.put(None)


class TimedThreads(Threads):
    """A call has ``seconds``, with its wait for a free thread."""

    def __init__(self, daemons: DaemonThreads, seconds: float) -> None:
        self._daemons = daemons
        self._seconds = seconds

    def allow(self, seconds: float) -> "TimedThreads":
        """The same threads, for a call that may take so long."""
        return TimedThreads(self._daemons, max(self._seconds, seconds))

    async def run(self, function: Callable[P, Result], *arguments: P.args, **keywords: P.kwargs) -> Result:
        """As ``Threads.run``; StorageUnavailableError at the end of its time."""
        sent = sum(len(value) for value in (*arguments, *keywords.values()) if isinstance(value, bytes))
        return await Threads.run(self.allow(self._seconds + sent / _LEAST_RATE), function, *arguments, **keywords)

    def close(self) -> None:
        self._daemons.close()

    def _begin(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        return asyncio.ensure_future(self._work(function))

    async def _work(self, function: Callable[[], Result]) -> Result:
        call, reason = ThreadCall(), "NoFreeThread"
        try:
            async with asyncio.timeout(self._seconds):
                await self._daemons.free.acquire()
                reason = "Timeout"
                return await self._start(call, function)
        except TimeoutError:
            raise StorageUnavailableError(reason) from None
        finally:
            call.end()

    def _start(self, call: ThreadCall, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def end(set_outcome: Callable[[], None]) -> None:
            self._daemons.free.release()
            if not done.done():
                set_outcome()

        def work() -> None:
            _local.call = call
            try:
                outcome = partial(done.set_result, function())
            except BaseException as error:  # noqa: BLE001 it is raised where the call is waited for
                outcome = partial(done.set_exception, error)
            call.leave()
            self._daemons.note_idle()
            # The loop is closed if the process ends meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, outcome)

        self._daemons.do(work)
        return done


class _Timed:
    """Before each connection of botocore: the call of this thread learns of the socket."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        # The handshake of TLS, too, is then within the call's time.
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            _use_socket(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 those of urllib3
        if self.sock is not None:
            _use_socket(self.sock)
        super().request(*arguments, **keywords)  # type: ignore[misc]


class _Connection(_Timed, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Timed, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Lending:
    """Before each pool of botocore: a call that waits for its next attempt has no connection."""

    def _put_conn(self, connection: Any) -> None:  # noqa: ANN401 that of urllib3, or none
        if _local.call is not None:
            _local.call.leave()
        super()._put_conn(connection)  # type: ignore[misc]


class _Pool(_Lending, AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(_Lending, AWSHTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _use_socket(sock: socket.socket) -> None:
    if _local.call is not None:
        _local.call.use_socket(sock)


def _check(**_: object) -> None:
    if _local.call is not None:
        _local.call.check()


def end_calls_in_time(client: Any) -> None:  # noqa: ANN401 boto3 has no types of its own
    """Let a client of boto3 use connections that the end of a call shuts down, and begin no attempt after it."""
    client.meta.events.register("before-send", _check)
    # It has no option for it. Its proxies have the same classes.
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_TlsPool)  # noqa: SLF001 as above


def end_read_in_time(body: Any) -> None:  # noqa: ANN401 as above
    """Let the end of this thread's call shut down what it reads next; TimeoutError if the call has ended."""
    if _local.call is not None:
        # That of urllib3: boto3's own has no method for it.
        _local.call.use(body._raw_stream.shutdown)  # noqa: SLF001 as above
