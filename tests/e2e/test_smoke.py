def test_s(client, stack, world, hello):
    r = client.chat.completions.create(model="openai/gpt-4o-mini", messages=hello)
    print(r)
    print(r._cost, r._latency_ms, r._routing)
    print(world.openai.requests[0].headers, world.openai.requests[0].path)
    print(stack.trace(r._routing["trace_id"]))
    r = client.chat.completions.create(model="anthropic/claude-sonnet-4-6", messages=hello)
    print(r)
    print(world.anthropic.requests[0].headers, world.anthropic.requests[0].path)
    r = client.chat.completions.create(model="smart", messages=hello)
    print(r)
    print(world.anthropic.requests[1].headers)
    for m in ["openai/gpt-4o-mini","anthropic/claude-sonnet-4-6","smart"]:
        for c in client.chat.completions.create(model=m, messages=hello, stream=True): print(c)
    assert 0
