"""Ownership of a provider's files and batches, and the models that a key can see."""

import itertools
import json
import sqlite3
import stat
import subprocess
from urllib.parse import parse_qs, urlsplit

import openai
import pytest
from openai import OpenAI
from support.http import Server
from support.stack import Stack, wait_for

KEYS = {name: f"secret-of-{name}" for name in ("ann", "bob", "root")}


class FileServer:
    """OpenAI's files and batches of one shared account, in pages, the newest first."""

    def __init__(self):
        self.requests = []
        self.files = {}
        self.batches = {}
        self.numbers = itertools.count(1)
        # Answers to the next creations, in place of the regular ones.
        self.odd_answers = []
        self.server = Server(self.handle)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.server.port}"

    def stop(self):
        self.server.stop()

    def add_file(self):
        id = f"file-{next(self.numbers)}"
        self.files[id] = {
            "id": id,
            "object": "file",
            "bytes": 3,
            "created_at": 1,
            "filename": "a.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
        return self.files[id]

    def add_batch(self, input_file_id):
        id = f"batch-{next(self.numbers)}"
        self.batches[id] = {
            "id": id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": input_file_id,
            "completion_window": "24h",
            "created_at": 1,
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
        }
        return self.batches[id]

    async def handle(self, request, writer):
        self.requests.append(request)
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.removeprefix("/v1/").split("/")
        kind = {"files": self.files, "batches": self.batches}.get(parts[0])
        match (request.method, *parts):
            case ("GET", "files" | "batches"):
                ids = list(reversed(kind))
                if "after" in query:
                    ids = ids[ids.index(query["after"]) + 1 :]
                limit = int(query.get("limit", 20))
                page = [kind[id] for id in ids[:limit]]
                body = {
                    "object": "list",
                    "data": page,
                    "has_more": len(ids) > limit,
                    "first_id": page[0]["id"] if page else None,
                    "last_id": page[-1]["id"] if page else None,
                }
                return await writer.reply(200, body)
            case ("POST", "files") if self.odd_answers:
                return await writer.reply(200, self.odd_answers.pop())
            case ("POST", "files"):
                return await writer.reply(200, self.add_file())
            case ("POST", "batches"):
                return await writer.reply(200, self.add_batch(request.json["input_file_id"]))
            case ("GET", "files" | "batches", id) if id in kind:
                return await writer.reply(200, kind[id])
            case ("GET", "files", id, "content") if id in kind:
                return await writer.reply(
                    200, f"the words of {id}".encode(), {"content-type": "application/octet-stream"}
                )
            case ("DELETE", "files", id) if id in kind:
                del kind[id]
                return await writer.reply(200, {"id": id, "object": "file", "deleted": True})
            case ("POST", "batches", id, "cancel") if id in kind:
                kind[id]["status"] = "cancelling"
                return await writer.reply(200, kind[id])
            case ("POST", "responses"):
                return await writer.reply(
                    200, {"id": "resp_1", "object": "response", "status": "completed", "output": []}
                )
            case ("POST", "chat", "completions"):
                choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
                return await writer.reply(
                    200,
                    {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]},
                )
        message = f"No such File object: {parts[-1]}"
        await writer.reply(
            404, {"error": {"message": message, "type": "invalid_request_error", "param": "id", "code": None}}
        )


@pytest.fixture(scope="module")
def providers():
    both = FileServer(), FileServer()
    yield both
    for provider in both:
        provider.stop()


def config(providers):
    first, second = providers
    return {
        "providers": {
            "openai": {"base_url": f"{first.origin}/v1", "api_key": "sk-files"},
            "second": {"format": "openai", "base_url": f"{second.origin}/v1", "api_key": "sk-files"},
        },
        "aliases": {"smart": {"candidates": ["openai/gpt-4o-mini"]}, "other": {"candidates": ["second/x"]}},
        "keys": {
            "ann": {"key_env": "ANN", "models": ["openai/*", "second/*", "smart"]},
            "bob": {"key_env": "BOB"},
            "root": {"key_env": "ROOT", "role": "admin"},
        },
    }


ENVIRONMENT = {name.upper(): secret for name, secret in KEYS.items()}


@pytest.fixture(scope="module")
def shared(providers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resources")
    stack = Stack(folder, config(providers), environment=ENVIRONMENT, key=KEYS["root"]).start()
    yield stack
    stack.stop()


@pytest.fixture(autouse=True)
def clean(providers):
    for provider in providers:
        provider.files.clear()
        provider.batches.clear()
        provider.requests.clear()


def sdk(stack, name, **more):
    return OpenAI(base_url=stack.base_url, api_key=KEYS[name], max_retries=0, **more)


def upload(client):
    return client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")


def batch_of(client, file_id):
    return client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")


def error_of(call):
    with pytest.raises(openai.APIStatusError) as raised:
        call()
    return raised.value.status_code, raised.value.body


def test_a_key_has_files_and_batches_of_its_own(shared, providers):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    file, other = upload(ann), upload(bob)
    assert ann.files.retrieve(file.id).id == file.id
    assert ann.files.content(file.id).read() == f"the words of {file.id}".encode()
    assert [each.id for each in ann.files.list()] == [file.id]
    assert [each.id for each in bob.files.list()] == [other.id]
    batch, others = batch_of(ann, file.id), batch_of(bob, other.id)
    assert ann.batches.retrieve(batch.id).id == batch.id
    assert [each.id for each in ann.batches.list()] == [batch.id]
    assert [each.id for each in bob.batches.list()] == [others.id]
    assert ann.batches.cancel(batch.id).status == "cancelling"
    assert ann.files.delete(file.id).deleted


@pytest.mark.parametrize(
    "reach",
    [
        lambda client, file, batch: client.files.retrieve(file),
        lambda client, file, batch: client.files.content(file),
        lambda client, file, batch: client.files.delete(file),
        lambda client, file, batch: client.files.list(after=file),
        lambda client, file, batch: client.batches.retrieve(batch),
        lambda client, file, batch: client.batches.cancel(batch),
        lambda client, file, batch: client.batches.list(after=batch),
        lambda client, file, batch: batch_of(client, file),
    ],
    ids=["file", "content", "delete", "files-after", "batch", "cancel", "batches-after", "input"],
)
def test_what_belongs_to_another_key_does_not_exist(shared, providers, reach):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    file = upload(ann)
    batch = batch_of(ann, file.id)
    providers[0].requests.clear()
    theirs = error_of(lambda: reach(bob, file.id, batch.id))
    nothing = error_of(lambda: reach(bob, "file-0", "batch-0"))
    assert theirs[0] == 404 and theirs[1]["code"] == "resource_not_found"
    masked = json.dumps(theirs[1]).replace(file.id, "X").replace(batch.id, "X")
    assert masked == json.dumps(nothing[1]).replace("file-0", "X").replace("batch-0", "X")
    assert not providers[0].requests, "the provider is not called"
    assert reach(ann, file.id, batch.id)


@pytest.mark.parametrize(
    "body",
    [
        '{"input_file_id":"OWN","input_file_id":"THEIRS"}',
        '{"input_file_id":"THEIRS","input_file_id":"OWN"}',
        '{"Input_File_Id":"THEIRS","input_file_id":"OWN"}',
        '{"input_file\\u005fid":"THEIRS"}',
    ],
)
def test_a_body_hides_no_id(shared, providers, body):
    theirs, own = upload(sdk(shared, "ann")).id, upload(sdk(shared, "bob")).id
    body = body.replace("OWN", own).replace("THEIRS", theirs).encode()
    headers = {"authorization": f"Bearer {KEYS['bob']}"}
    status, _, reply = shared.post(body, path="/v1/batches", headers=headers)
    assert (status, reply["error"]["code"]) == (404, "resource_not_found")
    assert not providers[0].batches


@pytest.mark.parametrize(
    "path", ["/v1/files/ID%", "/v1/files/%66ile-1", "/v1/files/ID/content/x", "/v1/files//ID", "/v1/files/ID/"]
)
def test_a_path_hides_no_id(shared, providers, path):
    theirs = upload(sdk(shared, "ann")).id
    providers[0].requests.clear()
    headers = {"authorization": f"Bearer {KEYS['bob']}"}
    status, _, reply = shared.post(None, method="GET", path=path.replace("ID", theirs), headers=headers)
    assert status == 404 and not providers[0].requests, reply


def test_pages_lead_to_all_that_is_ones_own(shared, providers):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    own = [upload(ann).id]
    theirs = [upload(bob).id for _ in range(7)]
    own += [upload(ann).id, upload(ann).id]
    theirs += [upload(bob).id for _ in range(3)]
    # With limit=2, the provider's first page has only other keys' objects, and the next is mixed.
    assert [file.id for file in ann.files.list(limit=2)] == list(reversed(own))
    assert [file.id for file in bob.files.list(limit=2)] == list(reversed(theirs))
    page = ann.files.with_raw_response.list(limit=2).http_response.json()
    assert [file["id"] for file in page["data"]] == [own[2], own[1]] and page["has_more"] is True
    assert (page["first_id"], page["last_id"]) == (own[2], own[1])
    assert {request.headers["authorization"] for request in providers[0].requests} == {"Bearer sk-files"}


def test_a_key_without_files_sees_an_empty_list(shared, providers):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    for _ in range(5):
        upload(ann)
    page = bob.files.with_raw_response.list(limit=2).http_response.json()
    assert page == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    assert list(bob.files.list(limit=1)) == []


def test_a_batchs_output_is_its_owners(shared, providers):
    ann, bob, root = sdk(shared, "ann"), sdk(shared, "bob"), sdk(shared, "root")
    batches = [batch_of(ann, upload(ann).id) for _ in range(2)]
    for batch in batches:
        providers[0].batches[batch.id].update(
            output_file_id=providers[0].add_file()["id"],
            error_file_id=providers[0].add_file()["id"],
            status="completed",
        )
    # The outputs get their owner at the first read, by any key, in a list or alone.
    assert root.batches.retrieve(batches[0].id).status == "completed"
    assert {batch.status for batch in ann.batches.list()} == {"completed"}
    for batch in batches:
        known = providers[0].batches[batch.id]
        for output in (known["output_file_id"], known["error_file_id"]):
            assert ann.files.content(output).read() == f"the words of {output}".encode()
            assert error_of(lambda: bob.files.content(output))[0] == 404


def test_an_administrator_sees_all_and_what_is_nobodys(shared, providers):
    root, ann = sdk(shared, "root"), sdk(shared, "ann")
    before, file = providers[0].add_file()["id"], upload(ann).id
    assert {each.id for each in root.files.list()} == {before, file}
    assert root.files.content(before).read()
    assert error_of(lambda: ann.files.retrieve(before))[0] == 404
    assert root.files.delete(file).deleted


def test_an_operator_gives_what_is_nobodys_to_a_key(shared, providers):
    ann = sdk(shared, "ann")
    before = providers[0].add_file()["id"]
    command = [shared._binary, "resources", "assign", "openai", "ann", before]
    subprocess.run(command, check=True, env=shared._environment, capture_output=True)
    assert ann.files.retrieve(before).id == before


def test_one_id_at_two_providers_is_two_objects(shared, providers):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    second = bob.with_options(default_headers={"x-opentracy-provider": "second"})
    file = upload(ann).id
    providers[1].numbers = itertools.count(int(file.split("-")[1]))
    assert upload(second).id == file
    assert second.files.retrieve(file).id == file
    assert error_of(lambda: bob.files.retrieve(file))[0] == 404
    anns_second = ann.with_options(default_headers={"x-opentracy-provider": "second"})
    assert error_of(lambda: anns_second.files.retrieve(file))[0] == 404


@pytest.mark.parametrize(
    "method,path",
    [
        ("GET", "/proxy/openai/v1/files"),
        ("GET", "/proxy/openai/files/ID/content"),
        ("DELETE", "/proxy/openai/v1/files/ID"),
        ("GET", "/proxy/openai/v1/%66iles"),
        ("GET", "/proxy/openai/v1//files"),
        ("POST", "/proxy/openai/v1/batches"),
        ("POST", "/proxy/openai/v1/uploads"),
        ("GET", "/proxy/openai/v1/vector_stores"),
        ("GET", "/proxy/openai/v1/responses/resp_1"),
        ("GET", "/proxy/openai/v1/fine_tuning/jobs"),
        ("GET", "/proxy/openai/v1/containers"),
        ("PATCH", "/proxy/openai/v1/x"),
    ],
)
def test_a_proxied_path_reaches_nothing_that_is_stored(shared, providers, method, path):
    file = upload(sdk(shared, "ann")).id
    providers[0].requests.clear()
    headers = {"authorization": f"Bearer {KEYS['bob']}"}
    status, _, reply = shared.post(None, method=method, path=path.replace("ID", file), headers=headers)
    assert (status, reply["error"]["code"]) == (403, "shared_resource")
    assert not providers[0].requests
    if method == "GET" and path.endswith("v1/files"):
        assert shared.post(None, method=method, path=path)[0] == 200, "an administrator has access"


@pytest.mark.parametrize(
    "body,status",
    [
        ({"model": "m", "previous_response_id": "resp_1"}, 404),
        ({"model": "m", "input": [{"content": [{"type": "input_file", "file_id": "THEIRS"}]}]}, 404),
        ({"model": "m", "input": [{"content": [{"type": "input_file", "file_id": "OWN"}]}]}, 200),
        ({"model": "m", "input": "hello"}, 200),
    ],
)
def test_a_proxied_body_names_ones_own_objects(shared, providers, body, status):
    theirs, own = upload(sdk(shared, "ann")).id, upload(sdk(shared, "bob")).id
    body = json.dumps(body).replace("THEIRS", theirs).replace("OWN", own).encode()
    headers = {"authorization": f"Bearer {KEYS['bob']}"}
    found, _, reply = shared.post(body, path="/proxy/openai/v1/responses", headers=headers)
    assert found == status, reply


@pytest.mark.parametrize("whose,status", [("THEIRS", 404), ("OWN", 200)])
@pytest.mark.parametrize(
    "path,body",
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "ID"}}]}]},
        ),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "ID"}]}]}),
    ],
)
def test_a_conversation_names_ones_own_files(shared, providers, path, body, whose, status):
    theirs, own = upload(sdk(shared, "ann")).id, upload(sdk(shared, "bob")).id
    providers[0].requests.clear()
    text = json.dumps({"model": "openai/gpt-4o-mini", **body}).replace("ID", theirs if whose == "THEIRS" else own)
    found, _, reply = shared.post(text.encode(), path=path, headers={"authorization": f"Bearer {KEYS['bob']}"})
    assert found == status, reply
    if status == 404:
        assert reply["error"]["code"] == "resource_not_found" and not providers[0].requests


def test_an_answer_that_names_no_object_is_no_file(shared, providers):
    ann, bob = sdk(shared, "ann"), sdk(shared, "bob")
    theirs = upload(bob).id
    for odd in ({"name": "files/1"}, [], {"id": theirs}):
        providers[0].odd_answers.append(odd)
        status, error = error_of(lambda: upload(ann))
        assert (status, error["code"]) == (502, "invalid_upstream_response")
    assert bob.files.retrieve(theirs).id == theirs


def test_owners_outlive_the_control_plane_and_without_it_nothing_is_shown(providers, tmp_path):
    stack = Stack(tmp_path, config(providers), environment=ENVIRONMENT, key=KEYS["root"]).start()
    try:
        ann, bob = sdk(stack, "ann"), sdk(stack, "bob")
        file = upload(ann).id
        batch = batch_of(ann, file).id
        stack.kill_control_plane()
        count = len(providers[0].files)
        calls = [
            lambda: ann.files.retrieve(file),
            lambda: ann.files.list(),
            lambda: upload(ann),
            lambda: batch_of(ann, file),
            lambda: bob.files.content(file),
            lambda: ann.batches.retrieve(batch),
            lambda: ann.files.delete(file),
        ]
        for reach in calls:
            status, error = error_of(reach)
            assert (status, error["code"]) == (503, "resources_unavailable")
        assert len(providers[0].files) == count, "nothing is created without an owner"
        # The filter itself knows the models.
        assert "smart" in {model.id for model in ann.models.list()}
        assert ann.models.retrieve("openai/gpt-4o-mini").owned_by == "openai"
        stack.start_control_plane()
        wait_for(
            lambda: (
                stack.post(
                    None, method="GET", path=f"/v1/files/{file}", headers={"authorization": f"Bearer {KEYS['ann']}"}
                )[0]
                == 200
            ),
            "the owners",
        )
        # Another worker may not have noticed yet that the control plane is back.
        answered = lambda: (found := error_of(lambda: bob.files.retrieve(file))[0]) != 503 and found
        assert wait_for(answered, "the other worker") == 404
        assert [each.id for each in ann.batches.list()] == [batch]
        database = next(tmp_path.rglob("resources.db"))
        assert stat.S_IMODE(database.stat().st_mode) == 0o600
        owners = sqlite3.connect(database).execute("SELECT id, owner FROM resources ORDER BY id").fetchall()
        assert (file, "key:ann") in owners and (batch, "key:ann") in owners
    finally:
        stack.stop()


def test_callers_without_keys_share_one_pool(providers, tmp_path):
    open_config = {name: value for name, value in config(providers).items() if name != "keys"}
    stack = Stack(tmp_path, open_config).start()
    try:
        anybody = OpenAI(base_url=stack.base_url, api_key="anything", max_retries=0)
        before, file = providers[0].add_file()["id"], upload(anybody).id
        assert {each.id for each in anybody.files.list()} == {before, file}
        listed = subprocess.run(
            [stack._binary, "resources", "list"], check=True, env=stack._environment, capture_output=True
        )
        assert listed.stdout.decode() == f"openai\t{file}\topen\n"
    finally:
        stack.stop()


# Models


@pytest.mark.parametrize("origin", ["gateway", "management"])
def test_a_key_sees_its_models_alone(shared, origin):
    origin = shared.origin if origin == "gateway" else shared.management

    def get(path, name):
        headers = {"authorization": f"Bearer {KEYS[name]}"}
        return shared.post(None, method="GET", path=path, origin=origin, headers=headers)

    listed = {model["id"] for model in get("/v1/models", "ann")[2]["data"]}
    assert {"smart", "openai/gpt-4o-mini"} <= listed and "other" not in listed and "demo/echo" not in listed
    assert {"smart", "other", "demo/echo"} <= {model["id"] for model in get("/v1/models", "bob")[2]["data"]}
    for path in ("smart", "openai/gpt-4o-mini", "gpt-4o-mini", "openai%2Fgpt-4o-mini"):
        assert get(f"/v1/models/{path}", "ann")[0] == 200, path
    for name in ("other", "demo/echo"):
        status, _, reply = get(f"/v1/models/{name}", "ann")
        assert (status, reply["error"]["code"]) == (404, "model_not_found")
        unknown = get("/v1/models/nothing", "ann")[2]
        assert reply["error"]["message"] == unknown["error"]["message"].replace("nothing", name)
        assert get(f"/v1/models/{name}", "bob")[0] == 200


def test_both_listeners_describe_models_alike(shared):
    gateway = shared.get("/v1/models")
    management = shared.get("/v1/models", shared.management)
    assert [model["id"] for model in gateway["data"]] == [model["id"] for model in management["data"]]
    assert gateway == management
    assert shared.get("/v1/models/gpt-4o-mini") == shared.get("/v1/models/gpt-4o-mini", shared.management)
    status, _, reply = shared.post({}, path="/v1/models")
    assert status == 405 and reply["error"]["code"] == "method_not_allowed"
