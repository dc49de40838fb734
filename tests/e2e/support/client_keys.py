"""The clients' keys of the tests of access."""

SECRETS = {
    name: f"secret-of-{name}" for name in ("admin", "user", "reader", "cheap", "chat-only", "expired", "disabled")
}


def bearer(name):
    return {"authorization": f"Bearer {SECRETS.get(name, name)}"} if name else {}
