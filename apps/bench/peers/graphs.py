"""Work on graphs in eager PyTorch."""

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


def forward_gnn_step(arrays, settings):
    """One single-forward layer: relu(A x W + b), cross-entropy of training nodes against virtual nodes, Adam."""
    x = torch.from_numpy(arrays["x"])
    train, y = torch.from_numpy(arrays["train"]).long(), torch.from_numpy(arrays["y"]).long()
    w, b = (torch.from_numpy(arrays[name].copy()).requires_grad_() for name in ("w", "b"))
    indices = torch.stack([torch.from_numpy(arrays["row"]).long(), torch.from_numpy(arrays["column"]).long()])
    count = x.shape[0]
    matrix = torch.sparse_coo_tensor(indices, torch.from_numpy(arrays["value"]), (count, count)).coalesce()
    by_row, by_column = matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()
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
