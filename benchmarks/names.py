"""A name server that answers every question with the same addresses, as a headless Service's does with its pods'."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from benchmarks.client import HOST

_HEADER = struct.Struct("!HHHHHH")
_ANSWER = struct.Struct("!HHHIH4s")
_A, _INTERNET = 1, 1
_RESPONSE = 0x8580  # authoritative, recursion asked for and available (RFC 1035, 4.1.1)
_SAME_NAME = 0xC00C  # a pointer to the name asked for


class Names:
    """The IPv4 addresses that every name has; they may be changed at any time."""

    def __init__(self, listener: socket.socket, addresses: Iterable[str]) -> None:
        self.addresses = list(addresses)
        self.port = int(listener.getsockname()[1])
        self._listener = listener

    def serve(self) -> None:
        """Answers until its socket is shut."""
        while True:
            query, client = self._listener.recvfrom(512)
            if not query:
                return
            self._listener.sendto(answer(query, self.addresses), client)


def answer(query: bytes, addresses: Iterable[str]) -> bytes:
    """The answer to a query of one question, by RFC 1035: these addresses if it asks for such, else none."""
    (identity, *_) = _HEADER.unpack_from(query)
    end = query.index(b"\0", _HEADER.size) + 5  # a name's end, a type and a class
    (kind,) = struct.unpack_from("!H", query, end - 4)
    records = [_ANSWER.pack(_SAME_NAME, _A, _INTERNET, 0, 4, socket.inet_aton(one)) for one in addresses if kind == _A]
    return _HEADER.pack(identity, _RESPONSE, 1, len(records), 0, 0) + query[_HEADER.size : end] + b"".join(records)


@contextmanager
def naming(*addresses: str) -> Iterator[Names]:
    """A name server on a free port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((HOST, 0))
        names = Names(listener, addresses)
        thread = threading.Thread(target=names.serve, daemon=True)
        thread.start()
        try:
            yield names
        finally:
            listener.sendto(b"", listener.getsockname())
            thread.join()
