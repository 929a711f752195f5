#!/usr/bin/python3
"""Gives the value to everybody who asks."""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VALUE = b"42\n"


class Store(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(VALUE)))
        self.end_headers()
        self.wfile.write(VALUE)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("", 8000), Store).serve_forever()
