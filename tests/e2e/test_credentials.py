"""Credentials of AWS and Google that are not keys in a file.

The control plane obtains and renews them, and the filter uses them.
"""

import datetime
import json
import stat
import sys
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from openai import OpenAI
from support import oracles, providers as mock
from support.http import Server
from support.requests import HELLO
from support.stack import wait_for

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOWHERE = {"AWS_EC2_METADATA_DISABLED": "true"}


def aws_config(world, **more):
    config = world.config()
    config["providers"]["bedrock"] = {"base_url": world.bedrock.origin, "region": "eu-west-1", **more}
    config["aliases"]["bedrock-second"] = {"candidates": ["gone/x", f"bedrock/{CLAUDE}"]}
    return config


def ask(stack, model):
    client = OpenAI(base_url=stack.base_url, api_key="whatever", max_retries=0)
    return client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content


def wait_for_credentials(stack):
    wait_for(lambda: stack.post({"model": f"bedrock/{CLAUDE}", "messages": HELLO})[0] == 200, "credentials")


@pytest.mark.parametrize("path", ["direct", "internal"])
def test_requests_are_signed_with_aws_credentials(own_stack, world, path):
    """The mock recomputes every signature with botocore from the request on the wire."""
    access_key, secret_key, token, _ = world.bedrock.credentials
    environment = {
        **NOWHERE,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_SESSION_TOKEN": token,
    }
    stack = own_stack(aws_config(world), environment=environment)
    wait_for_credentials(stack)
    world.reset()
    if path == "internal":
        assert ask(stack, "bedrock-second") == "Hello from the mock."
        return
    for model in (CLAUDE, PROFILE, "meta.llama3-3-70b-instruct-v1:0"):
        assert ask(stack, f"bedrock/{model}") == "Hello from the mock."
        assert world.bedrock.model(world.bedrock.requests[-1]) == model
    assert "%3A" in world.bedrock.requests[1].path and "%2F" in world.bedrock.requests[1].path
    assert secret_key not in stack.log("envoy") + stack.log("control-plane")


def test_aws_credentials_are_renewed_before_they_expire(own_stack, world, tmp_path):
    """The profile's program returns different credentials each time, which are about to expire."""
    counter = tmp_path / "count"
    counter.write_text("0")
    program = tmp_path / "program"
    program.write_text(f"""#!{sys.executable}
import datetime, json, pathlib
count = pathlib.Path({str(counter)!r})
number = int(count.read_text()) + 1
count.write_text(str(number))
expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=301)
print(json.dumps({{"Version": 1, "AccessKeyId": f"AKID{{number}}", "SecretAccessKey": f"secret{{number}}",
                  "SessionToken": f"token{{number}}", "Expiration": expires.isoformat()}}))
""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    aws = tmp_path / "aws-config"
    aws.write_text(f"[profile gateway]\ncredential_process = {program}\n")
    stack = own_stack(aws_config(world, profile="gateway"), environment={**NOWHERE, "AWS_CONFIG_FILE": str(aws)})

    def number_in_use():
        stack.post({"model": f"bedrock/{CLAUDE}", "messages": HELLO})
        used = world.bedrock.requests[-1].headers["authorization"] if world.bedrock.requests else ""
        return int(used.split("Credential=AKID")[1].split("/")[0]) if "AKID" in used else 0

    first = wait_for(number_in_use, "credentials")
    wait_for(lambda: number_in_use() > first + 1, "renewal")
    # The newest key, secret and token belong together.
    number = number_in_use()
    world.bedrock.credentials = (f"AKID{number}", f"secret{number}", f"token{number}", "eu-west-1")
    try:
        assert oracles.signature(world.bedrock.requests[-1], *world.bedrock.credentials) is None
    finally:
        del world.bedrock.credentials


def test_bedrock_without_credentials_says_what_to_set(own_stack, world):
    stack = own_stack(aws_config(world), environment=NOWHERE)
    status, _, reply = stack.post({"model": f"bedrock/{CLAUDE}", "messages": HELLO})
    assert (status, reply["error"]["code"]) == (401, "provider_key_missing")
    assert "AWS_ACCESS_KEY_ID" in reply["error"]["message"]
    wait_for(lambda: "no credentials for AWS" in stack.log("control-plane"), "a message in the log")


class TokenEndpoint:
    """Google's token endpoint: checks the service account's assertion and returns a token."""

    def __init__(self, public_key, expires_in):
        self.statements = []
        self._public_key = public_key
        self._expires_in = expires_in
        self.server = Server(self._handle)
        self.url = f"http://127.0.0.1:{self.server.port}/token"

    async def _handle(self, request, writer):
        form = urllib.parse.parse_qs(request.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        self.statements.append(jwt.decode(form["assertion"][0], certs=self._public_key, audience=self.url))
        await writer.reply(
            200,
            {
                "access_token": f"{mock.Vertex.token}-{len(self.statements)}",
                "token_type": "Bearer",
                "expires_in": self._expires_in,
            },
        )


def test_a_service_accounts_assertion_is_exchanged_and_its_token_renewed(own_stack, world, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    endpoint = TokenEndpoint(public, expires_in=303)
    account = tmp_path / "account.json"
    account.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "1",
                "private_key": private.decode(),
                "client_email": "gateway@my-project.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": endpoint.url,
            }
        )
    )
    config = world.config()
    config["providers"]["vertex"]["credentials_file"] = str(account)
    del config["providers"]["vertex"]["api_key"]
    stack = own_stack(config)
    world.vertex.habit = mock.status(
        200, body={"candidates": [{"content": {"parts": [{"text": "Hi."}]}, "finishReason": "STOP"}]}
    )

    def token():
        stack.post({"model": "vertex/gemini-2.5-pro", "messages": HELLO})
        return world.vertex.requests[-1].headers["authorization"] if world.vertex.requests else None

    def number():
        """Returns the number of the token in the provider's latest request."""
        return int((token() or "-0").rpartition("-")[2])

    # Each token is valid for a few seconds, so on a busy machine the first may have expired.
    first = wait_for(number, "a token")
    statement = endpoint.statements[0]
    assert statement["iss"] == "gateway@my-project.iam.gserviceaccount.com"
    assert "cloud-platform" in statement["scope"]
    lifetime = datetime.timedelta(seconds=statement["exp"] - statement["iat"])
    assert lifetime <= datetime.timedelta(hours=1)
    wait_for(lambda: number() > first, "renewal")
    endpoint.server.stop()


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "claude-sonnet-4-5@20250929"])
@pytest.mark.parametrize("stream", [False, True])
def test_vertex_serves_each_publishers_models(stack, world, model, stream):
    client = OpenAI(base_url=stack.base_url, api_key="whatever", max_retries=0)
    answer = client.chat.completions.create(model=f"vertex/{model}", messages=HELLO, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices).strip()
    else:
        text = answer.choices[0].message.content
    assert text == "Hello from the mock."
    publisher = "anthropic" if model.startswith("claude") else "google"
    assert f"/publishers/{publisher}/models/{model}:" in world.vertex.requests[0].path
