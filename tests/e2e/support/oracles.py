"""Checks requests with the SDK of their provider. Each check returns the problem, or `None`.

SDKs check little at run time, so this module walks their types and allows nothing beyond them.
"""

import re
import typing
from urllib.parse import urlsplit

import botocore.session
import pydantic
from anthropic.types import message_create_params
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cohere.v2.client import V2Client
from google.genai import types as genai
from mistralai.client import models as mistral
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from .strict import Mismatch, check


def openai(body):
    kinds = completion_create_params
    streams = body.get("stream")
    return _checked(
        body, kinds.CompletionCreateParamsStreaming if streams else kinds.CompletionCreateParamsNonStreaming
    )


def responses(body):
    kinds = response_create_params
    streams = body.get("stream")
    return _checked(body, kinds.ResponseCreateParamsStreaming if streams else kinds.ResponseCreateParamsNonStreaming)


def anthropic(body):
    # The SDK's types no longer have these; older models still accept them.
    body = {name: value for name, value in body.items() if name not in ("temperature", "top_p", "top_k")}
    kinds = message_create_params
    kind = kinds.MessageCreateParamsStreaming if body.get("stream") else kinds.MessageCreateParamsNonStreaming
    if problem := _checked(body, kind):
        return problem
    roles = [message["role"] for message in body["messages"]]
    if not roles or roles[0] != "user":
        return "the first message must be the user's"
    budget = (body.get("thinking") or {}).get("budget_tokens")
    if budget and not 1024 <= budget < body["max_tokens"]:
        return "the thinking budget must be below max_tokens"
    return None


def _checked(body, kind):
    try:
        check(body, kind)
    except Mismatch as problem:
        return str(problem)
    return None


def gemini(body):
    kinds = {
        "systemInstruction": genai.Content,
        "contents": list[genai.Content],
        "tools": list[genai.Tool],
        "toolConfig": genai.ToolConfig,
        "generationConfig": genai.GenerationConfig,
    }
    try:
        for name, value in body.items():
            pydantic.TypeAdapter(kinds[name]).validate_python(value)
    except (KeyError, pydantic.ValidationError) as problem:
        return str(problem)
    turns = body["contents"]
    if not turns or any(not turn["parts"] for turn in turns):
        return "every content must have parts"
    calls = [part["functionCall"] for turn in turns for part in turn["parts"] if "functionCall" in part]
    results = [part["functionResponse"] for turn in turns for part in turn["parts"] if "functionResponse" in part]
    if sorted(call["name"] for call in calls) != sorted(result["name"] for result in results):
        return "the number of function response parts must equal the number of function call parts"
    return None


_BEDROCK = botocore.session.get_session().get_service_model("bedrock-runtime")


def bedrock(body, streams=False):
    operation = _BEDROCK.operation_model("ConverseStream" if streams else "Converse")
    try:
        _check_shape(body, operation.input_shape, "$", skip={"modelId"})
    except Mismatch as problem:
        return str(problem)
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    if not roles or roles[0] != "user" or any(a == b for a, b in zip(roles, roles[1:])):
        return "A conversation must alternate between user and assistant roles, and start with a user message."
    for message in messages:
        if not message["content"]:
            return "The content field in the Message object is empty."
        kinds = [next(iter(block)) for block in message["content"]]
        if "document" in kinds and "text" not in kinds:
            return "a document needs a text beside it"
        for text in _texts(message["content"]):
            if not text.strip():
                return "The text field in the ContentBlock object is blank."
    has_tools = any("toolUse" in block or "toolResult" in block for message in messages for block in message["content"])
    if has_tools and "toolConfig" not in body:
        return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    for asking, answering in zip(messages, messages[1:]):
        asked = [block["toolUse"]["toolUseId"] for block in asking["content"] if "toolUse" in block]
        answered = [block["toolResult"]["toolUseId"] for block in answering["content"] if "toolResult" in block]
        if sorted(asked) != sorted(answered):
            return "Expected toolResult blocks at the next turn for every toolUse."
    return None


def _texts(blocks):
    for block in blocks:
        if "text" in block:
            yield block["text"]
        if "toolResult" in block:
            yield from _texts(block["toolResult"]["content"])


def _check_shape(value, shape, at, skip=()):
    """Checks more than botocore's validator, which ignores unions, enums and patterns."""
    kind = shape.type_name
    if kind == "structure" and getattr(shape, "is_document_type", False):
        return
    if kind == "structure":
        if not isinstance(value, dict):
            raise Mismatch(f"{at}: {value!r} is not an object")
        for name in value:
            if name not in shape.members:
                raise Mismatch(f"{at}.{name}: {shape.name} has no such member")
        for name in shape.required_members:
            if name not in value and name not in skip:
                raise Mismatch(f"{at}.{name}: {shape.name} requires it")
        # The service accepts one member of these, though only some are declared as unions.
        if (getattr(shape, "is_tagged_union", False) or shape.name.endswith("Block")) and not shape.required_members:
            if len(value) != 1:
                raise Mismatch(f"{at}: {shape.name} has one member, not {sorted(value)}")
        for name, member in value.items():
            _check_shape(member, shape.members[name], f"{at}.{name}")
    elif kind == "list":
        if not isinstance(value, list):
            raise Mismatch(f"{at}: {value!r} is not a list")
        _check_range(len(value), shape, at)
        for index, member in enumerate(value):
            _check_shape(member, shape.member, f"{at}[{index}]")
    elif kind == "map":
        _check_range(len(value), shape, at)
        for name, member in value.items():
            _check_shape(name, shape.key, f"{at}.{name}")
            _check_shape(member, shape.value, f"{at}.{name}")
    elif kind in ("string", "blob"):
        if not isinstance(value, str):
            raise Mismatch(f"{at}: {value!r} is not a string")
        if kind == "blob":
            return
        _check_range(len(value), shape, at)
        if shape.enum and value not in shape.enum:
            raise Mismatch(f"{at}: {value!r} is not one of {shape.enum}")
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            raise Mismatch(f"{at}: {value!r} does not match {pattern}")
    elif kind in ("integer", "long", "float", "double"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Mismatch(f"{at}: {value!r} is not a number")
        _check_range(value, shape, at)
    elif kind == "boolean" and not isinstance(value, bool):
        raise Mismatch(f"{at}: {value!r} is not true or false")


def _check_range(number, shape, at):
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and number < low or high is not None and number > high:
        raise Mismatch(f"{at}: {number} is not between {low} and {high}")


def signature(request, access_key, secret_key, token, region):
    """Recomputes the signature of a request as it came over the wire. Returns the problem."""
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\S+?), SignedHeaders=(\S+?), Signature=(\S+)",
        request.headers.get("authorization", ""),
    )
    if not match:
        return "the request is not signed"
    scope, names, given = match.groups()
    if not scope.startswith(f"{access_key}/") or f"/{region}/bedrock/aws4_request" not in scope:
        return f"the signature is for {scope}"
    if request.headers.get("x-amz-security-token") != token:
        return "the session token is missing"
    signed = {name: request.headers[name] for name in names.split(";") if name != "host"}
    url = f"http://{request.headers['host']}{urlsplit(request.path).path}"
    again = AWSRequest(request.method, url, data=request.body, headers=signed)
    again.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(access_key, secret_key, token), "bedrock", region)
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    return None if expected == given else "the signature does not match"


_COHERE = {
    name: kind
    for name, kind in typing.get_type_hints(V2Client.chat, include_extras=True).items()
    if name not in ("request_options", "return")
}


def cohere_v2(body):
    try:
        for name, value in body.items():
            if name == "stream":
                continue
            if name not in _COHERE:
                raise Mismatch(f"unknown field: parameter '{name}' is not a valid field")
            _check_model(value, _COHERE[name], name)
        for name in ("model", "messages"):
            if name not in body:
                raise Mismatch(f"{name} is missing")
    except Mismatch as problem:
        return str(problem)
    if len(body.get("stop_sequences", ())) > 5:
        return "too many stop sequences"
    if not 0.01 <= body.get("p", 0.5) <= 0.99:
        return "p must be between 0.01 and 0.99"
    if any(not 0 <= body.get(name, 0) <= 1 for name in ("presence_penalty", "frequency_penalty")):
        return "penalties must be between 0 and 1"
    return None


def mistral_chat(body):
    kind = mistral.ChatCompletionStreamRequest if body.get("stream") else mistral.ChatCompletionRequest
    try:
        _check_model(body, kind, "$")
        kind.model_validate(body)
    except (Mismatch, pydantic.ValidationError) as problem:
        return str(problem)
    ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    if any(not re.fullmatch(r"[a-zA-Z0-9]{9}", id) for id in ids):
        return "Tool call id was x but must be a-z, A-Z, 0-9, with a length of 9."
    return None


def _check_model(value, kind, at):
    """Checks against pydantic models that allow unknown members."""
    origin = typing.get_origin(kind)
    while origin is typing.Annotated:
        kind = typing.get_args(kind)[0]
        origin = typing.get_origin(kind)
    if isinstance(kind, typing.TypeVar) or kind is typing.Any:
        return
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        if not isinstance(value, dict):
            raise Mismatch(f"{at}: {value!r} is not an object")
        members = {field.alias or name: field for name, field in kind.model_fields.items()}
        for name in value:
            if name not in members:
                raise Mismatch(f"unknown field: parameter '{at}.{name}' is not a valid field of {kind.__name__}")
        for name, field in members.items():
            if field.is_required() and name not in value:
                raise Mismatch(f"{at}.{name}: {kind.__name__} requires it")
        for name, member in value.items():
            _check_model(member, members[name].annotation, f"{at}.{name}")
    elif origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        problems = []
        for member in typing.get_args(kind):
            try:
                return _check_model(value, member, at)
            except Mismatch as problem:
                problems.append(str(problem))
        raise Mismatch(f"{at}: matches no member: " + "; ".join(problems))
    elif origin is typing.Literal:
        if value not in typing.get_args(kind):
            raise Mismatch(f"{at}: {value!r} is not one of {typing.get_args(kind)}")
    elif isinstance(origin, type) and issubclass(origin, dict):
        if not isinstance(value, dict):
            raise Mismatch(f"{at}: {value!r} is not an object")
    elif isinstance(origin, type) and hasattr(origin, "__iter__"):
        if not isinstance(value, list):
            raise Mismatch(f"{at}: {value!r} is not a list")
        for index, member in enumerate(value):
            _check_model(member, typing.get_args(kind)[0], f"{at}[{index}]")
    elif kind is type(None):
        if value is not None:
            raise Mismatch(f"{at}: {value!r} is not null")
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Mismatch(f"{at}: {value!r} is not a number")
    elif kind in (str, int, bool) and type(value) is not kind:
        raise Mismatch(f"{at}: {value!r} is not {kind.__name__}")
