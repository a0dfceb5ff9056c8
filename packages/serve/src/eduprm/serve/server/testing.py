"""A service on a free port of loopback, in a thread of the test's own process.

For tests and benchmarks of everything that talks to a service: the routes, queue and worker are the real ones, only
the process is not.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any

import uvicorn

from eduprm.serve.server.app import build_app
from eduprm.serve.server.batching import Batcher
from eduprm.serve.wire import API, Limits, ModelInfo


class Serving:
    """Serves inside `with`; `url` is where.

    Args:
        scorer: the PRM (see `Batcher`).
        identity: what it says it is.
        limits: of one request.
        port: 0 for any free one.
        batch_tokens, queue_solutions, max_requests: as in the settings of the service.
    """

    def __init__(
        self,
        scorer: Any,
        *,
        identity: str = "test",
        limits: Limits | None = None,
        port: int = 0,
        batch_tokens: int = 8192,
        queue_solutions: int = 1024,
        max_requests: int = 256,
    ) -> None:
        self.batcher = Batcher(scorer, batch_tokens=batch_tokens, queue_solutions=queue_solutions)
        info = ModelInfo(
            api=API,
            identity=identity,
            name="test",
            prm=identity,
            max_tokens=scorer.max_tokens,
            dtype="float32",
            device="cpu",
            versions={},
            limits=limits or Limits.model_validate({}),
        )
        self._app = app = build_app(self.batcher, info, max_requests=max_requests)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=10)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )

    def __enter__(self) -> Serving:
        self._thread.start()  # connections wait in the listener until the server takes them
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop as a signal would: what is in work is finished."""
        self.stop()
        self._thread.join(30)
        self._listener.close()

    def become(self, identity: str) -> None:
        """Say from now on that it is another PRM, as one restarted behind the same address would."""
        service = self._app.state.service
        service.info = service.info.model_copy(update={"identity": identity})

    def stop(self) -> None:
        """Ask it to stop, without waiting."""
        self._server.should_exit = True
