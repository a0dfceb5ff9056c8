"""From the command line to a running service: check, load, listen, say where, stop when told.

What loads torch is imported after the settings and the PRM's place have been found good.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from eduprm.core.command_line import UsageError, load_settings
from eduprm.prm.default_prm import unnamed_prm
from eduprm.prm.source import PrmSource
from eduprm.serve.server.settings import ServeSettings
from eduprm.serve.wire import ModelInfo

EXIT_FINE, EXIT_UNUSABLE = 0, 2


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit status."""
    try:
        settings = load_settings(ServeSettings, arguments)
        source = _source(settings)
        listener = _listen(settings)
    except UsageError as error:
        return _unusable(error)
    from eduprm.serve.server.loading import describe

    with listener:
        try:
            scorer = source.open()
        except UsageError as error:
            return _unusable(error)
        info = describe(scorer, source, settings)
        return _serve(settings, scorer, info, listener)


def _source(settings: ServeSettings) -> PrmSource:
    if settings.prm is not None:
        return PrmSource.find(settings.prm, settings)
    name, _, line = unnamed_prm(None)
    print(f"serve: {line}", file=sys.stderr, flush=True)
    return PrmSource.find(name, settings)


def _unusable(error: UsageError) -> int:
    for line in str(error).splitlines():
        print(f"serve: {line}", file=sys.stderr)
    return EXIT_UNUSABLE


def _listen(settings: ServeSettings) -> socket.socket:
    """Take the port before the model is loaded, so that a port in use is known at once.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen()  # until then another one may bind the same port
    except OSError as error:
        listener.close()
        raise UsageError(
            f"--host, --port: cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose others"
        ) from None
    return listener


def _serve(settings: ServeSettings, scorer: object, info: ModelInfo, listener: socket.socket) -> int:
    import uvicorn

    from eduprm.serve.server.app import build_app
    from eduprm.serve.server.batching import Batcher

    batcher = Batcher(scorer, batch_tokens=settings.batch_tokens, queue_solutions=settings.queue_solutions)
    app = build_app(batcher, info, max_requests=settings.max_requests)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
    )
    # uvicorn stops on SIGTERM by itself, and raises it again afterwards: that second one must not end us with a status.
    signal.signal(signal.SIGTERM, lambda *_: None)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    line = (
        f"serving {info.name} (identity {info.identity[:12]}) on http://{host}:{listener.getsockname()[1]}; "
        "Ctrl-C stops it"
    )

    class Announcing(uvicorn.Server):
        """Says where it is once it answers, not before."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(line, flush=True)

    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has finished
        Announcing(config).run(sockets=[listener])
    if batcher.alive:  # inside the model: an interpreter that ends around that thread is aborted
        os._exit(EXIT_FINE)
    return EXIT_FINE
