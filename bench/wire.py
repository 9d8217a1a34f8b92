"""A blocking socket that carries frames of the wrapper, the same for every client that is measured."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self, TypeVar

from bench.registry import BenchError
from dlms.effects import Dialog, Pause, Receive, Send
from dlms.framing.wrapper import WrapperFramer

TIMEOUT_S = 30

T = TypeVar("T")


class Wire:
    """One connection to a meter that listens."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's timeout: Python's own costs a poll before each recv.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", TIMEOUT_S, 0))
        self._framer = WrapperFramer()
        self.frames = 0

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def receive(self) -> bytes:
        """One whole frame, header included."""
        while (frame := self._framer.next_frame()) is None:
            octets = self._socket.recv(65536)
            if not octets:
                raise BenchError("the meter closed the connection")
            self._framer.feed(octets)
        self.frames += 1
        return frame.raw

    def carry(self, dialog: Dialog[T]) -> T:
        """Run one of our dialogs to its end."""
        answer: bytes | None = None
        while True:
            try:
                effect = dialog.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer = None
            match effect:
                case Send(frame):
                    self.send(frame)
                case Receive():
                    answer = self.receive()
                case Pause():
                    raise BenchError("a dialog that pauses cannot be measured here")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
