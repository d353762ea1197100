"""A server and a client of gRPC that know nothing of the gate: Google's own library, messages of plain bytes.

    grpc_calls.py server           serves, and prints its port
    grpc_calls.py calls TARGET     makes calls with the token in BEARER, and prints what came of each, one JSON a line
    grpc_calls.py stream TARGET    opens a stream in the same way, and prints how it ends
"""

import concurrent.futures
import json
import os
import sys
import threading
import time

import grpc

SERVICE = "gate.test.Echo"
# The same behind a limit.
LIMITED = "gate.test.Limited"


class Echo(grpc.GenericRpcHandler):
    """Methods of each kind, and some that do not end well."""

    def service(self, details):
        _, service, method = details.method.split("/")
        if service not in (SERVICE, LIMITED):
            return None
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fails": grpc.unary_unary_rpc_method_handler(self.fails),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
            "Told": grpc.unary_unary_rpc_method_handler(self.told),
            "Cancelled": grpc.unary_unary_rpc_method_handler(self.cancelled_so_far),
        }.get(method)

    cancelled = 0

    def unary(self, request, context):
        context.set_trailing_metadata((("x-trailer", "kept"), ("x-clerk-auth-reason", "forged")))
        return request

    def server_stream(self, request, context):
        for number in range(5):
            yield request + b"%d" % number

    def client_stream(self, requests, context):
        return b"".join(requests)

    def bidi(self, requests, context):
        for request in requests:
            yield request.upper()

    def fails(self, request, context):
        context.set_trailing_metadata((("x-detail-bin", b"\x00\xff"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "käse % fails")

    def slow(self, request, context):
        # The deadline of the caller has come along.
        return b"%d" % int(context.time_remaining())

    def endless(self, request, context):
        def ended():
            Echo.cancelled += 1

        context.add_callback(ended)
        while context.is_active():
            yield b"tick"
            time.sleep(0.05)

    def told(self, request, context):
        return json.dumps(sorted((key, value if isinstance(value, str) else value.hex())
                                 for key, value in context.invocation_metadata())).encode()

    def cancelled_so_far(self, request, context):
        return b"%d" % Echo.cancelled


def server():
    served = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32))
    served.add_generic_rpc_handlers((Echo(),))
    port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    print(port, flush=True)
    served.wait_for_termination()


def say(name, **what):
    print(json.dumps({"call": name, **what}), flush=True)


def outcome(name, attempt):
    """What came of a call, or the status with which it failed."""
    try:
        say(name, code="OK", got=attempt())
    except grpc.RpcError as error:
        trailers = {key: value if isinstance(value, str) else value.hex()
                    for key, value in error.trailing_metadata() or ()}
        say(name, code=error.code().name, message=error.details(), trailers=trailers)


def calls(target):
    channel = grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)])
    metadata = [("x-user-id", "user_forged"), ("authorization", f"Bearer {os.environ['BEARER']}")]
    at = lambda method, prefix=SERVICE: f"/{prefix}/{method}"
    unary = lambda method: channel.unary_unary(at(method))
    common = {"metadata": metadata, "timeout": 30}

    def with_trailers():
        response, call = unary("Unary").with_call(b"hello", **common)
        return {"response": response.decode(), "trailers": dict(call.trailing_metadata())}

    outcome("unary", with_trailers)
    outcome("large", lambda: len(unary("Unary")(b"x" * 3_000_000, **common)))
    outcome("server stream", lambda: [piece.decode() for piece in channel.unary_stream(at("ServerStream"))(b"p", **common)])
    outcome("client stream", lambda: channel.stream_unary(at("ClientStream"))(iter([b"a", b"b", b"c"]), **common).decode())

    def in_turn():
        """Each answer is there before the next question is asked."""
        answered = threading.Semaphore(1)

        def questions():
            for word in (b"one", b"two", b"three"):
                answered.acquire()
                yield word

        got = []
        for answer in channel.stream_stream(at("Bidi"))(questions(), **common):
            got.append(answer.decode())
            answered.release()
        return got

    outcome("bidi", in_turn)
    outcome("fails", lambda: unary("Fails")(b"", **common).decode())
    outcome("deadline told", lambda: 20 <= int(unary("Slow")(b"", metadata=metadata, timeout=25)) <= 25)
    outcome("no such method", lambda: unary("Nowhere")(b"", **common).decode())
    outcome("told", lambda: json.loads(unary("Told")(b"", **common)))

    def called_off():
        before = int(unary("Cancelled")(b"", **common))
        stream = channel.unary_stream(at("Endless"))(b"", **common)
        next(stream)
        stream.cancel()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if int(unary("Cancelled")(b"", **common)) > before:
                return "the server knows"
            time.sleep(0.05)
        return "the server does not know"

    outcome("called off", called_off)

    def late():
        for _ in channel.unary_stream(at("Endless"))(b"", metadata=metadata, timeout=0.7):
            pass

    outcome("deadline passed", late)
    outcome("nobody's", lambda: channel.unary_unary("/gate.test.Closed/Unary")(b"", timeout=30).decode())
    outcome("forbidden", lambda: channel.unary_unary("/gate.test.Admin/Unary")(b"", **common).decode())
    outcome("hidden", lambda: channel.unary_unary("/gate.test.Hidden/Unary")(b"", **common).decode())
    outcome("limited", lambda: [channel.unary_unary(f"/{LIMITED}/Unary")(b"", **common) for _ in range(3)])
    outcome("nobody there", lambda: channel.unary_unary("/gate.test.Gone/Unary")(b"", **common).decode())


def stream(target):
    """Listens to a stream until the other side ends it."""
    channel = grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)])
    metadata = [("authorization", f"Bearer {os.environ['BEARER']}")]

    def until_it_ends():
        ticks = channel.unary_stream(f"/{SERVICE}/Endless")(b"", metadata=metadata, timeout=60)
        next(ticks)
        say("open")
        for _ in ticks:
            pass

    outcome("ended", until_it_ends)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server"]:
            server()
        case ["calls", target]:
            calls(target)
        case ["stream", target]:
            stream(target)
