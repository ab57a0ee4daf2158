// Vercel's AI SDK with its provider for servers that speak OpenAI's API.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const told = JSON.parse(readFileSync(process.argv[2], "utf8"));
const server = createOpenAICompatible({
  name: "tessera",
  baseURL: `${told.url}/v1`,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const reader = createOpenAICompatible({ name: "reader", baseURL: `${told.reader_url}/v1` });
const limits = { model: server(told.model), maxOutputTokens: 100, temperature: 0, maxRetries: 0 };
const blankless = { ...limits, providerOptions: { tessera: { logit_bias: told.blanks } } };
const story = { prompt: "Tell me a story." };
const City = z.object({ city: z.enum(["Rome", "Oslo"]) });

function user(...content) {
  return { messages: [{ role: "user", content }] };
}

const trials = {
  async text() {
    const answer = await generateText({ ...limits, ...story });
    assert.ok(answer.text);
    assert.ok(answer.usage.outputTokens > 0);
  },

  async streaming() {
    const whole = await generateText({ ...limits, ...story });
    const streamed = streamText({ ...limits, ...story });
    const pieces = [];
    for await (const piece of streamed.textStream) pieces.push(piece);
    assert.equal(pieces.join(""), whole.text);
    assert.ok(pieces.length > 1);
    assert.ok((await streamed.usage).outputTokens > 0);
  },

  async images() {
    const asked = { type: "text", text: "What is in the image?" };
    const answer = await generateText({ ...limits, ...user(asked, { type: "image", image: told.picture }) });
    assert.match(answer.text, /red/);
  },

  async sound() {
    const asked = { type: "text", text: "How many beeps are there?" };
    const heard = { type: "file", data: Buffer.from(told.sound, "base64"), mediaType: "audio/wav" };
    const answer = await generateText({ ...limits, ...user(heard, asked) });
    assert.match(answer.text, /three/);
  },

  async tools() {
    const cities = [];
    const weather = tool({
      inputSchema: City,
      strict: true,
      execute: async ({ city }) => {
        cities.push(city);
        return "It rains.";
      },
    });
    const answer = await generateText({
      ...blankless,
      ...story,
      tools: { weather },
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : { type: "tool", toolName: "weather" } }),
      stopWhen: stepCountIs(2),
    });
    assert.equal(cities.length, 1);
    assert.equal(answer.steps.length, 2);
    const streamed = streamText({
      ...blankless,
      ...story,
      tools: { weather: tool({ inputSchema: City, strict: true }) },
      toolChoice: { type: "tool", toolName: "weather" },
    });
    assert.deepEqual(
      (await streamed.toolCalls).map((call) => call.input.city),
      cities,
    );
  },

  async "structured output"() {
    const answer = await generateText({ ...blankless, ...story, output: Output.object({ schema: City }) });
    assert.ok(City.parse(answer.output));
  },

  async embeddings() {
    const made = await embedMany({
      model: reader.embeddingModel(told.reader),
      values: ["A cat sleeps.", "Share prices fell."],
      maxRetries: 0,
    });
    assert.deepEqual(
      made.embeddings.map((vector) => vector.length),
      [384, 384],
    );
  },

  async errors() {
    await assert.rejects(generateText({ ...limits, ...story, topP: 7 }), (refused) => {
      assert.ok(APICallError.isInstance(refused));
      assert.equal(refused.statusCode, 400);
      assert.match(refused.message, /`top_p` must be/);
      return true;
    });
  },
};

for (const [capability, trial] of Object.entries(trials)) {
  let fault = null;
  try {
    await trial();
  } catch (raised) {
    fault = raised.stack;
  }
  console.log(JSON.stringify({ capability, fault }));
}
