"""Encodes messages of AWS's event stream format."""

import json
import struct
import zlib


def event(kind, payload):
    return _message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(kind, payload):
    return _message(
        {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload
    )


def _message(headers, payload):
    payload = json.dumps(payload).encode()
    packed = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))
