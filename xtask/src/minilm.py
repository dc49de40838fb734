"""Writes the weights of all-MiniLM-L6-v2 as an ONNX graph, if the model hub is unreachable.

usage: minilm.py model.safetensors model.onnx

The graph has the interface of the hub's file. The inputs are `input_ids`, `attention_mask` and
`token_type_ids` (int64, batch by length); the output is `last_hidden_state` (float, batch by length
by 384). The model is a BERT encoder: a layer norm of the embeddings, then six layers.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

LAYERS, HEADS, WIDTH = 6, 12, 384
NORM_EPSILON = 1e-12


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def weight(self, name):
        return self.constant(name, self.weights[name])

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def linear(self, value, matrix, bias, name):
        product = self.node("MatMul", [value, self.constant(f"{name}.weight", matrix.T)], f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def dense(self, value, name):
        return self.linear(value, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], name)

    def norm(self, value, name):
        inputs = [value, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", inputs, name, axis=-1, epsilon=NORM_EPSILON)


def attention(graph, hidden, mask, layer):
    """Self-attention. The three projections are one matrix, and so one multiplication."""
    own = f"{layer}.attention.self"
    parts = [f"{own}.{part}" for part in ("query", "key", "value")]
    projected = graph.linear(
        hidden,
        np.concatenate([graph.weights[f"{part}.weight"] for part in parts]),
        np.concatenate([graph.weights[f"{part}.bias"] for part in parts]),
        f"{own}.qkv",
    )
    # The shape is batch, length, (query key value), head, width of a head.
    parted = graph.node("Reshape", [projected, "shape.parted"], f"{own}.parted")
    turned = graph.node("Transpose", [parted], f"{own}.turned", perm=[2, 0, 3, 1, 4])
    query, key, value = (
        graph.node("Gather", [turned, f"index.{number}"], f"{own}.{number}", axis=0) for number in range(3)
    )
    query = graph.node("Mul", [query, "scale"], f"{own}.scaled")
    key = graph.node("Transpose", [key], f"{own}.key.turned", perm=[0, 1, 3, 2])
    scores = graph.node("MatMul", [query, key], f"{own}.scores")
    scores = graph.node("Add", [scores, mask], f"{own}.masked")
    weights = graph.node("Softmax", [scores], f"{own}.weights", axis=-1)
    context = graph.node("MatMul", [weights, value], f"{own}.context")
    context = graph.node("Transpose", [context], f"{own}.context.turned", perm=[0, 2, 1, 3])
    context = graph.node("Reshape", [context, "shape.joined"], f"{own}.joined")
    output = graph.dense(context, f"{layer}.attention.output.dense")
    summed = graph.node("Add", [output, hidden], f"{layer}.attention.sum")
    return graph.norm(summed, f"{layer}.attention.output.LayerNorm")


def feed_forward(graph, hidden, layer):
    inner = graph.dense(hidden, f"{layer}.intermediate.dense")
    inner = graph.node("Gelu", [inner], f"{layer}.gelu")
    output = graph.dense(inner, f"{layer}.output.dense")
    summed = graph.node("Add", [output, hidden], f"{layer}.sum")
    return graph.norm(summed, f"{layer}.output.LayerNorm")


def embeddings(graph):
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    positions = graph.weight("embeddings.position_embeddings.weight")
    tables = [
        graph.node("Gather", [graph.weight("embeddings.word_embeddings.weight"), "input_ids"], "words"),
        graph.node("Gather", [graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"], "types"),
        graph.node("Slice", [positions, "zero", length], "positions"),
    ]
    summed = graph.node("Add", [graph.node("Add", tables[:2], "words.types"), tables[2]], "embedded")
    return graph.norm(summed, "embeddings.LayerNorm")


def mask(graph):
    """Returns zero for tokens and a large negative number for padding."""
    present = graph.node("Cast", ["attention_mask"], "present", to=TensorProto.FLOAT)
    absent = graph.node("Sub", ["one", present], "absent")
    negative = graph.node("Mul", [absent, "lowest"], "negative")
    return graph.node("Unsqueeze", [negative, "axes"], "mask")


def build(weights):
    graph = Graph(
        {
            name.removeprefix("bert."): value.astype(np.float32)
            for name, value in weights.items()
            if value.dtype.kind == "f"
        }
    )
    head = WIDTH // HEADS
    graph.constant("shape.parted", np.array([0, 0, 3, HEADS, head]))
    graph.constant("shape.joined", np.array([0, 0, WIDTH]))
    graph.constant("scale", np.float32(head**-0.5))
    graph.constant("one", np.float32(1))
    graph.constant("lowest", np.float32(np.finfo(np.float32).min))
    graph.constant("axes", np.array([1, 2]))
    graph.constant("zero", np.array([0]))
    for number in range(3):
        graph.constant(f"index.{number}", np.array(number))

    masked = mask(graph)
    hidden = embeddings(graph)
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        hidden = feed_forward(graph, attention(graph, hidden, masked, layer), layer)
    graph.node("Identity", [hidden], "last_hidden_state")

    shape = ["batch", "length"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, WIDTH])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "all-MiniLM-L6-v2", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    source, target = sys.argv[1:]
    onnx.save(build(load_file(source)), target)
