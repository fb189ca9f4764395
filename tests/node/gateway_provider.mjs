// Cloudflare's provider for Vercel's AI SDK: fallback arrays and routes by the universal endpoint.
//
// Reads cases, one JSON object a line, and prints an answer a line. The library's host is fixed, so `fetch` takes
// its requests to ours instead; nothing else is changed.
import readline from "node:readline";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import {
  AiGatewayDoesNotExist,
  AiGatewayUnauthorizedError,
  createAiGateway,
} from "ai-gateway-provider";
import { createUnified } from "ai-gateway-provider/providers/unified";

const HOST = "https://gateway.ai.cloudflare.com";
const seen = [];
const realFetch = globalThis.fetch;
globalThis.fetch = async (url, init) => {
  const answer = await realFetch(String(url).replace(HOST, process.env.HEADRACE_URL), init);
  seen.push({ step: answer.headers.get("cf-aig-step"), status: answer.status });
  return answer;
};

// `fetch` is named so that the library may put its own in its place.
const options = { fetch: globalThis.fetch };
const makers = {
  openai: (name, apiKey) => createOpenAI({ ...options, apiKey }).chat(name),
  responses: (name, apiKey) => createOpenAI({ ...options, apiKey }).responses(name),
  anthropic: (name, apiKey) => createAnthropic({ ...options, apiKey })(name),
  unified: (name, apiKey) => createUnified({ ...options, apiKey })(name),
};
const classes = { AiGatewayDoesNotExist, AiGatewayUnauthorizedError };

async function answer({ gateway, token, models, prompt, stream, key, gatewayOptions }) {
  const aigateway = createAiGateway({
    accountId: process.env.HEADRACE_ACCOUNT,
    gateway,
    apiKey: token,
    options: gatewayOptions,
  });
  const model = aigateway(models.map(([maker, name]) => makers[maker](name, key ?? "CF_TEMP_TOKEN")));
  const request = { model, prompt, maxRetries: 0 };
  if (!stream) return { text: (await generateText(request)).text };
  let failure;
  const result = streamText({ ...request, onError: ({ error }) => (failure = error) });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  if (failure) throw failure;
  return { text: pieces.join(""), pieces: pieces.length };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  seen.length = 0;
  let result;
  try {
    result = await answer(JSON.parse(line));
  } catch (error) {
    const known = Object.entries(classes).find(([, kind]) => error instanceof kind);
    result = {
      raised: known?.[0] ?? error?.name,
      status: error?.statusCode,
      retryable: error?.isRetryable,
      message: error?.message,
    };
  }
  console.log(JSON.stringify({ ...result, calls: seen }));
}
