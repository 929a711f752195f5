#!/usr/bin/python3
"""Passes on the value that the store gives."""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen


class Front(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with open("/etc/small/store") as f:
                address = f.read().strip()
            with urlopen(f"http://{address}:8000/") as answer:
                status, value = 200, b"the value is " + answer.read()
        except OSError as e:
            status, value = 503, f"the store: {e}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("", 8000), Front).serve_forever()
