"""The base class of the mock providers."""

import collections
import json

from ..http import Server
from .behaviors import answer


class Provider:
    """A provider that answers correctly by default.

    `script` is a queue of behaviors for the next requests; `habit` is the behavior when the
    queue is empty.
    """

    def __init__(self):
        self.requests = []
        self.script = collections.deque()
        self.habit = None
        self._server = Server(self._handle)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.port}"

    # The content type of a stream.
    stream_type = "text/event-stream; charset=utf-8"

    async def _handle(self, request, writer):
        writer.stream_type = self.stream_type
        self.requests.append(request)
        behavior = self.script.popleft() if self.script else self.habit
        if behavior is None:
            behavior = answer(text="Hello from the mock.")
        await behavior(self, request, writer)

    def serves(self, request):
        """Returns true if the request has a path that this provider serves."""
        return request.path == self.chat_path

    def streams(self, request):
        return bool(request.json.get("stream"))

    def model(self, request):
        return request.json["model"]

    def break_stream(self):
        """Returns an event that can't be parsed, or nothing if the format has no such event."""
        return b""

    def reset(self):
        self.requests.clear()
        self.script.clear()
        self.habit = None

    def stop(self):
        self._server.stop()


def sse(data, newline=b"\n"):
    return b"data: " + json.dumps(data).encode() + newline * 2
