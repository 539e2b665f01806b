"""Workloads in JAX, a whole step compiled by `jit`, its state donated."""

import os

# Read when jax starts its CPU client, so before the import: it has no call to set threads.
_threads = os.environ.get("OMP_NUM_THREADS", "1")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={'true' if _threads != '1' else 'false'}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

EPSILON = 1e-5


def set_threads(count):
    """XLA takes the cores that the process may use: others are taken away."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


def adam(params, grads, state, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    count, means, squares = state
    count = count + 1
    means = {name: beta1 * means[name] + (1 - beta1) * grads[name] for name in params}
    squares = {name: beta2 * squares[name] + (1 - beta2) * grads[name] ** 2 for name in params}
    corrected1, corrected2 = 1 - beta1**count, 1 - beta2**count
    moved = {
        name: p - rate * (means[name] / corrected1) / (jnp.sqrt(squares[name] / corrected2) + epsilon)
        for name, p in params.items()
    }
    return moved, (count, means, squares)


def parameters(arrays):
    params = {name: jnp.asarray(value) for name, value in arrays.items() if name.startswith("params")}
    means, squares = ({name: jnp.zeros_like(value) for name, value in params.items()} for _ in range(2))
    return params, (jnp.float32(0), means, squares)


def update_of(settings, loss_of):
    """One step of Adam on the loss that `loss_of(params, *batch)` computes."""

    def update(params, state, *batch):
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        moved, state = adam(params, grads, state, settings["learningRate"])
        return moved, state, loss

    return update


def stepper(arrays, update, batch):
    params, state = parameters(arrays)
    compiled = jax.jit(update, donate_argnums=(0, 1))
    batch = [jnp.asarray(array) for array in batch]

    def step():
        nonlocal params, state
        params, state, loss = compiled(params, state, *batch)
        return loss

    return step


def trainer(arrays, settings, loss_of):
    return stepper(arrays, update_of(settings, loss_of), (arrays["x"], arrays["y"]))


def matmul(arrays, settings):
    a, b = jnp.asarray(arrays["a"]), jnp.asarray(arrays["b"])
    product = jax.jit(jnp.matmul)
    taken = 0

    def step():
        nonlocal taken
        row = taken % settings["size"]
        taken += 1
        return product(a, b)[row, row]

    return step


def dense(params, name, x):
    return x @ params[f"{name}/kernel"] + params[f"{name}/bias"]


def perceptron_loss(settings):
    """Every second layer of ours is an activation."""
    layers = settings["layers"]

    def loss_of(params, x, y):
        for i in range(layers - 1):
            x = jax.nn.relu(dense(params, f"params/{2 * i}", x))
        return cross_entropy(dense(params, f"params/{2 * (layers - 1)}", x), y)

    return loss_of


def mlp(arrays, settings):
    return trainer(arrays, settings, perceptron_loss(settings))


def mlp_epoch(arrays, settings):
    one = update_of(settings, perceptron_loss(settings))

    def epoch(params, state, xs, ys):
        def body(carry, batch):
            params, state, loss = one(*carry, *batch)
            return (params, state), loss

        (params, state), losses = lax.scan(body, (params, state), (xs, ys))
        return params, state, jnp.mean(losses)

    return stepper(arrays, epoch, (arrays["x"], arrays["y"]))


def gru(arrays, settings):
    units, cell = settings["units"], "params/cell"

    def loss_of(params, x, y):
        given = x @ params[f"{cell}/inputKernel"] + params[f"{cell}/inputBias"]

        def advance(hidden, now):
            again = hidden @ params[f"{cell}/recurrentKernel"] + params[f"{cell}/recurrentBias"]
            reset, keep = jnp.split(jax.nn.sigmoid(now[:, : 2 * units] + again[:, : 2 * units]), 2, 1)
            new = jnp.tanh(now[:, 2 * units :] + reset * again[:, 2 * units :])
            return (1 - keep) * new + keep * hidden, None

        hidden, _ = lax.scan(advance, jnp.zeros((x.shape[1], units)), given)
        return cross_entropy(dense(params, "params/head", hidden), y)

    return trainer(arrays, settings, loss_of)


def layer_norm(params, name, x):
    centred = x - x.mean(-1, keepdims=True)
    normed = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return normed * params[f"{name}/scale"] + params[f"{name}/offset"]


def attention(arrays, settings):
    body, second, heads = "params/0/body", "params/1/body", settings["heads"]

    def attend(params, x):
        batch, tokens, width = x.shape
        query, key, value = (
            dense(params, f"{body}/1/{name}", x).reshape(batch, tokens, heads, width // heads) for name in ("query", "key", "value")
        )
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(width // heads))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)
        return dense(params, f"{body}/1/output", mixed)

    def loss_of(params, x, y):
        h = x + attend(params, layer_norm(params, f"{body}/0", x))
        inner = jax.nn.relu(dense(params, f"{second}/1", layer_norm(params, f"{second}/0", h)))
        return jnp.mean((h + dense(params, f"{second}/3", inner) - y) ** 2)

    return trainer(arrays, settings, loss_of)


def convolve(params, name, x, stride=1):
    kernel = params[f"{name}/kernel"]
    edge = kernel.shape[0] // 2
    y = lax.conv_general_dilated(
        x, kernel, (stride, stride), ((edge, edge), (edge, edge)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    bias = params.get(f"{name}/bias")
    return y if bias is None else y + bias


def batch_norm(params, name, x):
    centred = x - x.mean((0, 1, 2))
    normed = centred * lax.rsqrt((centred**2).mean((0, 1, 2)) + EPSILON)
    return normed * params[f"{name}/scale"] + params[f"{name}/offset"]


def convnet4(arrays, settings):
    def loss_of(params, x, y):
        for i in range(4):
            x = jax.nn.relu(batch_norm(params, f"params/{4 * i + 1}", convolve(params, f"params/{4 * i}", x)))
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        # After four blocks of four layers and the flattening.
        return cross_entropy(dense(params, "params/17", x.reshape(x.shape[0], -1)), y)

    return trainer(arrays, settings, loss_of)


def resnet20(arrays, settings):
    def block(params, index, x, stride):
        body = f"params/{index}/body"
        y = jax.nn.relu(batch_norm(params, f"{body}/1", convolve(params, f"{body}/0", x, stride)))
        y = batch_norm(params, f"{body}/4", convolve(params, f"{body}/3", y))
        if stride > 1:
            more = (y.shape[3] - x.shape[3]) // 2
            x = jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (more, more)))
        return jax.nn.relu(x + y)

    def loss_of(params, x, y):
        x = jax.nn.relu(batch_norm(params, "params/1", convolve(params, "params/0", x)))
        # Residual layers and their activations alternate after the first three layers.
        for i in range(9):
            x = block(params, 3 + 2 * i, x, 2 if i in (3, 6) else 1)
        return cross_entropy(dense(params, "params/22", x.mean((1, 2))), y)

    return trainer(arrays, settings, loss_of)


workloads = {
    "attention": attention,
    "convnet4": convnet4,
    "gru": gru,
    "matmul-1024": matmul,
    "matmul-256": matmul,
    "mlp-epoch": mlp_epoch,
    "mlp-large": mlp,
    "mlp-small": mlp,
    "resnet20": resnet20,
}
