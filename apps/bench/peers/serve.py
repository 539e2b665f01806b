"""The other side of `bpf-bench perf`: runs workloads with torch or numpy, asked over standard input, one JSON object a line.

Written from the papers and the definitions of the operations, not from anyone's code.
Usage: serve.py torch|numpy THREADS
"""

import base64
import importlib
import json
import sys
import time

import numpy as np

library, threads = sys.argv[1], int(sys.argv[2])
peer = importlib.import_module(f"{library}_peer")
peer.set_threads(threads)


def array(encoded):
    flat = np.frombuffer(base64.b64decode(encoded["base64"]), dtype=encoded["dtype"])
    return flat.reshape(encoded["shape"]).copy()


step = None


def answer(request):
    global step
    if "prepare" in request:
        arrays = {name: array(value) for name, value in request["arrays"].items()}
        step = peer.workloads[request["prepare"]](arrays, request["settings"])
        return {}
    if "steps" in request:
        return {"losses": [float(step()) for _ in range(request["steps"])]}
    begun = time.perf_counter()
    for _ in range(request["time"]):
        # float() waits for the value, as our side does.
        float(step())
    return {"ms": (time.perf_counter() - begun) * 1000}


for line in sys.stdin:
    try:
        result = answer(json.loads(line))
    except Exception as error:  # the asking side turns it into its own error
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
