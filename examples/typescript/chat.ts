// Requests a chat completion and a stream with OpenAI's SDK for TypeScript.
//
//   cargo xtask run                          in another terminal, with ANTHROPIC_API_KEY set
//   npm install --no-package-lock            in this folder
//   npx tsx chat.ts                          without a key: OPENTRACY_MODEL=demo/echo

import OpenAI from "openai";

const model = process.env.OPENTRACY_MODEL ?? "anthropic/claude-sonnet-4-6";
const client = new OpenAI({
  baseURL: `${process.env.OPENTRACY_URL ?? "http://127.0.0.1:8080"}/v1`,
  // A client key, once the gateway requires keys.
  apiKey: process.env.OPENTRACY_KEY ?? "anything",
});

// Fields that the gateway adds to an answer.
interface Extras {
  _cost: number | null;
  _routing: { selected_model: string; attempts: number; trace_id: string };
}

async function chat(): Promise<void> {
  const answer = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Say hello." }],
  });
  const { _cost, _routing } = answer as unknown as Extras;
  console.log(answer.choices[0]?.message.content);
  console.log("model:", _routing.selected_model, "attempts:", _routing.attempts, "cost:", _cost);
}

async function stream(): Promise<void> {
  const chunks = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Count to five." }],
    stream: true,
  });
  for await (const chunk of chunks) {
    process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  }
  process.stdout.write("\n");
}

await chat();
await stream();
