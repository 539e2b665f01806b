"""The other side of `bpf-bench perf`: runs workloads with torch, numpy or jax, asked over standard input, one JSON object a line.

Written from the papers and the definitions of the operations, not from anyone's code.
Usage: serve.py torch|numpy|jax THREADS
"""

import base64
import importlib
import json
import os
import sys
import time

import numpy as np

library, threads = sys.argv[1], int(sys.argv[2])
peer = importlib.import_module(f"{library}_peer")
peer.set_threads(threads)


def array(encoded):
    flat = np.frombuffer(base64.b64decode(encoded["base64"]), dtype=encoded["dtype"])
    return flat.reshape(encoded["shape"]).copy()


def blas():
    """Where matrix products come from: Debian's torch uses whatever libblas is installed, and the reference one is 40 times slower."""
    try:
        with open("/proc/self/maps") as maps:
            loaded = {line.split()[-1].rsplit("/", 1)[-1].lower() for line in maps}
            maps.seek(0)
            real = {os.path.realpath(line.split()[-1]).rsplit("/", 1)[-1].lower() for line in maps}
    except OSError:
        return "unknown"
    for name in ("mkl", "openblas", "blis", "atlas"):
        if any(name in file for file in loaded | real):
            return name
    return "reference" if any(file.startswith("libblas.so") for file in loaded) else "unknown"


step = None


def answer(request):
    global step
    if "prepare" in request:
        arrays = {name: array(value) for name, value in request["arrays"].items()}
        step = peer.workloads[request["prepare"]](arrays, request["settings"])
        return {"blas": blas()}
    if "steps" in request:
        return {"losses": [float(step()) for _ in range(request["steps"])]}
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for _ in range(request["time"]):
        # float() waits for the value, as our side does.
        float(step())
    return {"ms": (time.perf_counter() - begun) * 1000, "cpuMs": (time.process_time() - begun_cpu) * 1000}


for line in sys.stdin:
    try:
        result = answer(json.loads(line))
    except Exception as error:  # the asking side turns it into its own error
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
