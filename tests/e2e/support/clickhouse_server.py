"""Serves ClickHouse's HTTP interface in front of its in-process engine, `chdb`.

usage: python -m support.clickhouse_server PORT FOLDER

Supports what the control plane's client uses: statements, `INSERT`s with their rows in the body,
formats, and errors with their codes. The in-process engine runs one statement at a time.
"""

import re
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb import session

ENGINE = threading.Lock()
INSERT = re.compile(r"\s*INSERT\s", re.IGNORECASE)
FORMAT = re.compile(r"\sFORMAT\s+(\w+)\s*$", re.IGNORECASE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Sends the head and the body of an answer together.
    wbufsize = -1
    disable_nagle_algorithm = True
    engine = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(200, b"Ok.\n")

    def do_POST(self):
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        body = self.body()
        statement = parameters.get("query", "")
        try:
            if INSERT.match(statement) and FORMAT.search(statement):
                self.insert(statement, body)
                answer = b""
            else:
                answer = self.select(statement + body.decode(), parameters)
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            self.reply(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "0"})
        else:
            self.reply(200, answer)

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def insert(self, statement, rows):
        if not rows:
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(rows)
            file.flush()
            infile = FORMAT.sub(lambda found: f" FROM INFILE '{file.name}' FORMAT {found[1]}", statement)
            self.run(infile, "CSV")

    def select(self, statement, parameters):
        found = FORMAT.search(statement)
        form = found[1] if found else parameters.get("default_format", "TabSeparated")
        return self.run(FORMAT.sub("", statement), form)

    def run(self, statement, form):
        with ENGINE:
            return self.engine.query(statement, form).bytes()

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port, folder):
    Handler.engine = session.Session(folder)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
