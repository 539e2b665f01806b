"""Work on graphs in eager PyTorch."""

import math

import torch


def sparse_product(arrays, settings):
    """A sparse product, by the faster of PyTorch's two: CSR."""
    nodes = settings["nodes"]
    x = torch.from_numpy(arrays["x"])
    indices = torch.stack([torch.from_numpy(arrays["row"]).long(), torch.from_numpy(arrays["column"]).long()])
    matrix = torch.sparse_coo_tensor(indices, torch.ones(indices.shape[1]), (nodes, nodes)).coalesce().to_sparse_csr()
    taken = 0

    def step():
        nonlocal taken
        y = matrix @ x
        row = taken % nodes
        taken += 1
        return y[row, 0]

    return step


class SparseProduct(torch.autograd.Function):
    """A constant sparse matrix (CSR, with its transpose) times a dense one."""

    @staticmethod
    def forward(ctx, matrix, transpose, x):
        ctx.transpose = transpose
        return matrix @ x

    @staticmethod
    def backward(ctx, slope):
        return None, None, ctx.transpose @ slope


def adjacency(arrays, count):
    """The matrix of a graph and its transpose, CSR."""
    indices = torch.stack([torch.from_numpy(arrays["row"]).long(), torch.from_numpy(arrays["column"]).long()])
    matrix = torch.sparse_coo_tensor(indices, torch.from_numpy(arrays["value"]), (count, count)).coalesce()
    return matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()


def forward_gnn_step(arrays, settings):
    """One single-forward layer: relu(A x W + b), cross-entropy of training nodes against virtual nodes, Adam."""
    x = torch.from_numpy(arrays["x"])
    train, y = torch.from_numpy(arrays["train"]).long(), torch.from_numpy(arrays["y"]).long()
    w, b = (torch.from_numpy(arrays[name].copy()).requires_grad_() for name in ("w", "b"))
    by_row, by_column = adjacency(arrays, x.shape[0])
    optimizer = torch.optim.Adam([w, b], lr=settings["learningRate"])
    nodes = settings["nodes"]

    def step():
        optimizer.zero_grad()
        z = torch.relu(SparseProduct.apply(by_row, by_column, x @ w) + b)
        loss = torch.nn.functional.cross_entropy(z[train] @ z[nodes:].T, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def teddy_step(arrays, settings):
    """A GCN student: cross-entropy and distillation, Adam, projection of the weights, evaluation, the best weights kept."""
    x, teacher = torch.from_numpy(arrays["x"]), torch.log_softmax(torch.from_numpy(arrays["teacher"]), 1)
    train, validation, test, y = (torch.from_numpy(arrays[name]).long() for name in ("train", "validation", "test", "labels"))
    params = [torch.from_numpy(arrays[name].copy()).requires_grad_() for name in ("w1", "w2")]
    by_row, by_column = adjacency(arrays, settings["nodes"])
    optimizer = torch.optim.Adam(params, lr=settings["learningRate"], weight_decay=settings["weightDecay"])
    zeros = math.ceil(settings["weightSparsity"] * sum(w.numel() for w in params))
    best = {"accuracy": -1.0, "test": 0.0, "params": [w.detach().clone() for w in params]}

    def logits():
        hidden = torch.relu(SparseProduct.apply(by_row, by_column, x @ params[0]))
        return SparseProduct.apply(by_row, by_column, hidden @ params[1])

    def project():
        flat = torch.cat([w.flatten() for w in params])
        flat[torch.topk(flat.abs(), zeros, largest=False, sorted=False).indices] = 0
        for w, part in zip(params, flat.split([w.numel() for w in params])):
            w.copy_(part.view_as(w))

    def step():
        optimizer.zero_grad()
        z = logits()
        divergence = torch.nn.functional.kl_div(torch.log_softmax(z, 1), teacher, reduction="batchmean", log_target=True)
        loss = torch.nn.functional.cross_entropy(z[train], y[train]) + settings["lambda"] * divergence
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            project()
            right = (logits().argmax(1) == y).float()
            accuracy = right[validation].mean().item()
            if accuracy >= best["accuracy"]:
                best.update(accuracy=accuracy, test=right[test].mean().item(), params=[w.clone() for w in params])
        return loss.detach()

    return step
