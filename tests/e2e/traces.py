"""Takes traces over OTLP/HTTP, as a collector does, and understands them with the messages that the OpenTelemetry
project publishes. Prints its address first, then each message as a line of JSON."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def say(value):
    json.dump(value, sys.stdout)
    print(flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        message = ExportTraceServiceRequest.FromString(body)
        say({
            "path": self.path,
            "type": self.headers["content-type"],
            "key": self.headers["api-key"],
            # What the gate writes is what the published messages have a place for, and nothing else.
            "unknown": message.SerializeToString() != body,
            "message": MessageToDict(message),
        })
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
say({"address": "http://127.0.0.1:%d" % server.server_port})
server.serve_forever()
