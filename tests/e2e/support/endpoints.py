"""Mock providers of the endpoints other than conversations."""

import base64
import json
import re
import struct

from openai import types as kinds

from . import oracles
from .http import Server
from .strict import Mismatch, check

VECTOR = [0.5, -1.0, 0.25]


class OpenAiServer:
    """OpenAI's endpoints except chat. Requests are checked against the SDK's own types."""

    def __init__(self):
        self.requests = []
        self.problems = []
        self.server = Server(self.handle)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.server.port}"

    def checked(self, request, kind):
        try:
            check(request.json, kind)
        except Mismatch as problem:
            self.problems.append(str(problem))

    async def handle(self, request, writer):
        self.requests.append(request)
        method, path = request.method, request.path.split("?")[0]
        if b"refuse-me" in request.body:
            message = "Incorrect API key provided: sk-proj-very-secret-key-000"
            return await writer.reply(401, {"error": {"message": message, "type": "x", "code": None, "param": None}})
        if request.headers.get("authorization") != "Bearer sk-endpoints":
            return await writer.reply(401, {"error": {"message": "no key", "type": "x", "code": None, "param": None}})
        match (method, path):
            case ("POST", "/v1/embeddings"):
                self.checked(request, kinds.embedding_create_params.EmbeddingCreateParams)
                texts = request.json["input"]
                count = 1 if isinstance(texts, str) else len(texts)
                packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
                vector = packed if request.json.get("encoding_format") == "base64" else VECTOR
                data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
                usage = {"prompt_tokens": 4, "total_tokens": 4}
                await writer.reply(
                    200, {"object": "list", "data": data, "model": request.json["model"], "usage": usage}
                )
            case ("POST", "/v1/images/generations"):
                self.checked(request, kinds.image_generate_params.ImageGenerateParamsNonStreaming)
                usage = {
                    "input_tokens": 10,
                    "output_tokens": 100,
                    "total_tokens": 110,
                    "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
                }
                await writer.reply(200, {"created": 1, "data": [{"b64_json": "aGk="}], "usage": usage})
            case ("POST", "/v1/audio/speech"):
                self.checked(request, kinds.audio.speech_create_params.SpeechCreateParams)
                writer.headers(200, {"content-type": "audio/mpeg"}, chunked=True)
                for index in range(20):
                    await writer.send(bytes([index]) * 1000)
                await writer.end()
            case ("POST", "/v1/audio/transcriptions") | ("POST", "/v1/audio/translations"):
                form = dict(re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', request.body, re.DOTALL))
                text = f"{form.get(b'model', b'?').decode()} heard {len(request.body)} bytes"
                await writer.reply(200, {"text": text})
            case ("POST", "/v1/moderations"):
                self.checked(request, kinds.moderation_create_params.ModerationCreateParams)
                names = kinds.moderation.Categories.model_fields
                flags = {field.alias or name: False for name, field in names.items()}
                scores = {name: 0.0 for name in flags}
                types = {name: ["text"] for name in flags}
                result = {
                    "flagged": False,
                    "categories": flags,
                    "category_scores": scores,
                    "category_applied_input_types": types,
                }
                await writer.reply(
                    200, {"id": "modr-1", "model": request.json.get("model", "omni"), "results": [result]}
                )
            case ("POST", "/v1/completions"):
                self.checked(
                    request,
                    kinds.completion_create_params.CompletionCreateParamsNonStreaming
                    if not request.json.get("stream")
                    else kinds.completion_create_params.CompletionCreateParamsStreaming,
                )
                one = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": request.json["model"]}
                if request.json.get("stream"):
                    await writer.begin_stream()
                    for word in ("a ", "b "):
                        choice = {"index": 0, "text": word, "logprobs": None, "finish_reason": None}
                        await writer.send(b"data: " + json.dumps({**one, "choices": [choice]}).encode() + b"\n\n")
                    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
                    await writer.send(b"data: " + json.dumps({**one, "choices": [], "usage": usage}).encode() + b"\n\n")
                    await writer.send(b"data: [DONE]\n\n")
                    return await writer.end()
                choice = {"index": 0, "text": "a b", "logprobs": None, "finish_reason": "stop"}
                usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
                await writer.reply(200, {**one, "choices": [choice], "usage": usage})
            case ("POST", "/v1/rerank"):
                results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
                await writer.reply(
                    200, {"model": request.json["model"], "results": results, "usage": {"total_tokens": 9}}
                )
            case ("GET", "/v1/files") | ("GET", "/v1/batches"):
                await writer.reply(200, {"object": "list", "data": [], "has_more": False})
            case ("POST", "/v1/files"):
                await writer.reply(200, self.file(len(request.body)))
            case ("GET", "/v1/files/file-1"):
                await writer.reply(200, self.file(3))
            case ("GET", "/v1/files/file-1/content"):
                await writer.reply(200, b"line 1\nline 2\n", {"content-type": "application/octet-stream"})
            case ("DELETE", "/v1/files/file-1"):
                await writer.reply(200, {"id": "file-1", "object": "file", "deleted": True})
            case ("POST", "/v1/batches") | ("GET", "/v1/batches/batch-1") | ("POST", "/v1/batches/batch-1/cancel"):
                await writer.reply(
                    200,
                    {
                        "id": "batch-1",
                        "object": "batch",
                        "endpoint": "/v1/chat/completions",
                        "input_file_id": "file-1",
                        "completion_window": "24h",
                        "created_at": 1,
                        "status": "validating",
                    },
                )
            case ("GET", "/v1/models"):
                await writer.reply(
                    200,
                    {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]},
                    {"set-cookie": "a=b", "x-provider": "yes"},
                )
            case ("PATCH", "/v1/own/thing"):
                await writer.reply(
                    207, {"method": method, "query": request.path.split("?")[1], "body": request.body.decode()}
                )
            case _:
                await writer.reply(
                    404, {"error": {"message": f"no such path {path}", "type": "x", "code": None, "param": None}}
                )

    @staticmethod
    def file(size):
        return {
            "id": "file-1",
            "object": "file",
            "bytes": size,
            "created_at": 1,
            "filename": "a.jsonl",
            "purpose": "batch",
            "status": "processed",
        }


class Others:
    """The embeddings APIs of Google, AWS, Cohere and Mistral."""

    def __init__(self):
        self.requests = []
        self.server = Server(self.handle)

    async def handle(self, request, writer):
        self.requests.append(request)
        path = request.path
        if path == "/v1beta/models/gemini-embedding-001:batchEmbedContents":
            embeddings = [{"values": VECTOR} for _ in request.json["requests"]]
            return await writer.reply(200, {"embeddings": embeddings})
        if path == "/v2/embed":
            embeddings = {"float": [VECTOR for _ in request.json["texts"]]}
            body = {
                "id": "1",
                "embeddings": embeddings,
                "texts": request.json["texts"],
                "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 6}},
            }
            return await writer.reply(200, body)
        if path == "/v2/rerank":
            return await writer.reply(200, {"id": "1", "results": [{"index": 0, "relevance_score": 0.8}], "meta": {}})
        if path == "/model/amazon.titan-embed-text-v2%3A0/invoke":
            credentials = ("AKIDEXAMPLE", "secret", None, "us-east-1")
            if problem := oracles.signature(request, *credentials):
                return await writer.reply(403, {"message": problem})
            return await writer.reply(200, {"embedding": VECTOR, "inputTextTokenCount": 5})
        if path == "/mistral/v1/embeddings":
            assert set(request.json) <= {"model", "input", "output_dimension"}, request.json
            data = [{"object": "embedding", "index": 0, "embedding": VECTOR}]
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            return await writer.reply(
                200, {"id": "1", "object": "list", "model": "mistral-embed", "data": data, "usage": usage}
            )
        await writer.reply(404, {"error": {"message": f"no such path {path}"}})
