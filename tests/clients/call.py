"""Calls RPCs by gRPC's C core and prints how each ended, one JSON object a line.

Usage: call.py HOST:PORT. Each line of stdin is a call: `path`; `kind`, the name of a method of `grpc.Channel`; `requests`,
encoded messages in hexadecimal; `take`, after how many answers the call is cancelled, if it goes on for ever.
"""

import json
import sys

import grpc
from grpc_status import rpc_status

# The longest that a call may take, in seconds.
LIMIT = 30


def same(message):
    return message


def end(error):
    """The status of a call that failed, as a client sees it."""
    details = []
    # None without details; a ValueError where they contradict the status.
    rich = rpc_status.from_call(error)
    if rich is not None:
        details = [detail.type_url.rsplit("/", 1)[-1] for detail in rich.details]
    return {"code": error.code().name, "message": error.details(), "details": details}


def make(channel, call):
    method = getattr(channel, call["kind"])(
        call["path"], request_serializer=same, response_deserializer=same
    )
    requests = [bytes.fromhex(request) for request in call["requests"]]
    many = call["kind"].startswith("stream")
    requests = iter(requests) if many else requests[0]
    answers = 0
    try:
        answer = method(requests, timeout=LIMIT)
        if call["kind"].endswith("unary"):
            answers = 1
        else:
            for _ in answer:
                answers += 1
                if answers == call.get("take"):
                    answer.cancel()
                    break
    except grpc.RpcError as error:
        return {"answers": answers, **end(error)}
    return {"answers": answers, "code": "OK", "message": "", "details": []}


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        for line in sys.stdin:
            print(json.dumps(make(channel, json.loads(line))), flush=True)


main()
