"""A small HTTP/1.1 server that can misbehave in every way that a provider does."""

import asyncio
import json
import threading
from dataclasses import dataclass, field


@dataclass
class Request:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    # Set when the client disconnects before the answer.
    canceled: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self):
        return json.loads(self.body)


class Writer:
    """Writes the answer to a connection."""

    def __init__(self, stream):
        self._stream = stream
        self._chunked = False
        self.stream_type = "text/event-stream"

    def headers(self, status, headers, chunked):
        lines = [f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in headers.items()]
        self._chunked = chunked
        if chunked:
            lines.append("transfer-encoding: chunked")
        self._stream.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def reply(self, status, body, headers=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": len(body), **(headers or {})}
        self.headers(status, headers, chunked=False)
        self._stream.write(body)
        await self._stream.drain()

    async def begin_stream(self, chunked=True):
        headers = {"content-type": self.stream_type}
        if not chunked:
            headers["connection"] = "close"
        self.headers(200, headers, chunked)
        await self._stream.drain()

    async def send(self, data: bytes):
        if self._chunked:
            data = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        self._stream.write(data)
        await self._stream.drain()

    async def end(self):
        if self._chunked:
            self._stream.write(b"0\r\n\r\n")
            await self._stream.drain()
        else:
            self.close()

    def close(self):
        self._stream.close()

    def reset(self):
        """Sends a TCP reset, which discards everything that is not sent yet."""
        self._stream.transport.abort()

    @property
    def is_closing(self):
        return self._stream.is_closing()


class Server:
    """A server on its own thread. `handler(request, writer)` answers and may close the writer."""

    def __init__(self, handler):
        self._handler = handler
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _serve(self, reader, stream):
        try:
            while True:
                request = await self._read(reader)
                if request is None:
                    break
                writer = Writer(stream)
                gone = asyncio.ensure_future(self._watch(reader, request))
                try:
                    await self._handler(request, writer)
                except ConnectionError:
                    request.canceled.set()
                finally:
                    gone.cancel()
                if writer.is_closing:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            stream.close()

    @staticmethod
    async def _watch(reader, request):
        """Marks the request as canceled when the client disconnects.

        The gateway sends nothing while it waits for an answer, so the end of the input is a
        disconnect.
        """
        while not reader.at_eof():
            await asyncio.sleep(0.005)
        request.canceled.set()

    @staticmethod
    async def _read(reader):
        head = await reader.readline()
        if not head:
            return None
        method, path, _ = head.decode().split(" ", 2)
        headers = {}
        while line := (await reader.readline()).decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while (size := int(await reader.readline(), 16)) > 0:
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, body)

    def stop(self):
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
