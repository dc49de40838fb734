// An unchanged application with OpenAI's TypeScript SDK, and a provider of any format.
// `OPENTRACY_BASE_URL` is the gateway, `OPENTRACY_MODEL` the model of the requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import type { ChatCompletionMessageParam, ChatCompletionTool } from "openai/resources/chat/completions";

const model = process.env.OPENTRACY_MODEL!;
const client = new OpenAI({ baseURL: process.env.OPENTRACY_BASE_URL, apiKey: "whatever", maxRetries: 0 });

// Fields that the gateway adds to an answer.
interface Extras {
  _cost: number | null;
  _latency_ms: number;
  _routing: { selected_model: string; attempts: number; session_id?: string };
}

const hello: ChatCompletionMessageParam[] = [{ role: "user", content: "Hello!" }];
const weather: ChatCompletionTool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

test("a chat", async () => {
  const { data, response } = await client.chat.completions.create({ model, messages: hello }).withResponse();
  const extras = data as unknown as Extras;
  assert.equal(data.choices[0].message.content, "Hello from the mock.");
  assert.equal(data.usage?.total_tokens, 30);
  assert.ok(extras._cost! > 0 && extras._latency_ms > 0);
  assert.equal(extras._routing.selected_model, model);
  assert.equal(response.headers.get("x-opentracy-selected-model"), model);
});

test("a stream", async () => {
  const stream = await client.chat.completions.create({
    model, messages: hello, stream: true, stream_options: { include_usage: true },
  });
  let text = "";
  let last: unknown;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    last = chunk;
  }
  assert.equal(text.trim(), "Hello from the mock.");
  assert.equal((last as { usage: { total_tokens: number } }).usage.total_tokens, 30);
  assert.equal((last as Extras)._routing.selected_model, model);
});

test("tools in two turns, by the SDK's own runner", async () => {
  const asked: string[] = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: [{ role: "user", content: "What is the weather in Paris and Rome?" }],
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "The weather in a city",
          parameters: weather.function.parameters as object,
          parse: JSON.parse,
          function: ({ city }: { city: string }) => {
            asked.push(city);
            return "sunny";
          },
        },
      },
    ],
  });
  assert.equal((await runner.finalContent())?.trim(), "It is sunny.");
  assert.deepEqual(asked, ["Paris", "Rome"]);
});

test("an image", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } },
        ],
      },
    ],
  });
  assert.equal(answer.choices[0].message.content, "Hello from the mock.");
});

test("errors are the SDK's own", async () => {
  const ask = (body: object) => client.chat.completions.create({ model, messages: hello, ...body } as never);
  await assert.rejects(ask({ model: "gpt-4o-mimi" }), (error: unknown) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
  await assert.rejects(ask({ messages: [] }), OpenAI.BadRequestError);
  await assert.rejects(ask({ model: "groq/x" }), OpenAI.AuthenticationError);
});

test("a stream that is given up", async () => {
  const stream = await client.chat.completions.create({ model, messages: hello, stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
});

test("a response, and a stream of one", async () => {
  const response = await client.responses.create({ model, input: "Hello!" });
  assert.equal(response.output_text, "Hello from the mock.");
  assert.equal(response.usage?.total_tokens, 30);
  const stream = client.responses.stream({ model, input: "Hello!" });
  let text = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  const last = await stream.finalResponse();
  assert.equal(text.trim(), "Hello from the mock.");
  assert.equal(last.output_text.trim(), "Hello from the mock.");
  assert.ok((last as unknown as Extras)._cost! > 0);
});
