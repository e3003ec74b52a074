# SPDX-License-Identifier: GPL-3.0-or-later
"""A git server over HTTP that wants a token, as code hosts do. Reads "USER:TOKEN" from a file; serves /srv/git."""

import base64
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Passes requests with the token to git's own CGI program."""

    def do_GET(self):
        path, _question, query = self.path.partition("?")
        if self.headers.get("Authorization", "") != EXPECTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": "/srv/git",
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        command = ["git", "http-backend"]
        answer = subprocess.run(command, check=True, input=body, env=environment, stdout=subprocess.PIPE).stdout
        head, _blank, content = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_arguments):
        """Keep quiet."""


with open(sys.argv[1], "rb") as stream:
    EXPECTED = "Basic " + base64.b64encode(stream.read().strip()).decode()
HTTPServer(("127.0.0.1", 8418), Handler).serve_forever()
