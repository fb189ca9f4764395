// Vercel's AI SDK: by chat completions, or by responses when the first argument says so.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { TOOL, TOOL_RESULT, answerCases } from "./sdk_session.mjs";

const options = { baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY };
const provider =
  process.argv[2] === "responses"
    ? createOpenAI(options)
    : createOpenAICompatible({ ...options, name: "headrace", includeUsage: true });

const weather = { description: TOOL.description, inputSchema: jsonSchema(TOOL.schema) };
const callable = { [TOOL.name]: tool(weather) };
const executable = { [TOOL.name]: tool({ ...weather, execute: async () => TOOL_RESULT }) };

function turn(step, pieces = 1) {
  return {
    text: step.text,
    calls: step.toolCalls.map((call) => ({ name: call.toolName, arguments: call.input })),
    finish: step.finishReason,
    tokens: [step.usage.inputTokens, step.usage.outputTokens],
    pieces,
  };
}

const request = (model, prompt, more) => ({ model: provider(model), prompt, maxRetries: 0, ...more });

async function streamed(model, question, more) {
  let pieces = 0;
  let failure;
  const onError = ({ error }) => (failure = error);
  const result = streamText(request(model, question, { ...more, onError }));
  for await (const piece of result.textStream) pieces += piece ? 1 : 0;
  if (failure) throw failure;
  const [text, toolCalls, finishReason, usage] = await Promise.all([
    result.text,
    result.toolCalls,
    result.finishReason,
    result.usage,
  ]);
  return turn({ text, toolCalls, finishReason, usage }, pieces);
}

await answerCases({
  ask: async (model, question) => turn(await generateText(request(model, question))),
  stream: (model, question) => streamed(model, question, {}),
  stream_tool: (model, question) => streamed(model, question, { tools: callable }),
  // The SDK calls the tool and goes on by itself.
  use_tool: async (model, question) => {
    const { steps } = await generateText(
      request(model, question, { tools: executable, stopWhen: isStepCount(2) }),
    );
    return steps.map((step) => turn(step));
  },
});
