"""A line to a service that can be cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Wire:
    """Forwards connections on loopback to a port, until it is cut after some bytes; can be mended."""

    def __init__(self, port: int) -> None:
        self._goal = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.left: float = float("inf")
        """Bytes to the service that still get through."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.left <= 0:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._goal))
                for source, goal, counted in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pump, args=(source, goal, counted), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, goal: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while self.left > 0 and (data := source.recv(65536)):
                if counted:
                    self.left -= len(data)
                    data = data if self.left > 0 else data[: len(data) // 2]
                goal.sendall(data)
        for end in (source, goal):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
