// OpenAI's SDK, asking by chat completions.
import OpenAI from "openai";
import { TOOL, TOOL_RESULT, answerCases } from "./sdk_session.mjs";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY
const tools = [
  { type: "function", function: { name: TOOL.name, description: TOOL.description, parameters: TOOL.schema } },
];
const user = (question) => [{ role: "user", content: question }];

function turn(answer) {
  const [choice] = answer.choices;
  return {
    text: choice.message.content ?? "",
    calls: (choice.message.tool_calls ?? []).map((call) => ({
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments),
    })),
    finish: choice.finish_reason,
    tokens: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    pieces: 1,
  };
}

async function streamed(request) {
  let pieces = 0;
  // The SDK puts the answer together from its pieces.
  const stream = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
  for await (const chunk of stream) pieces += chunk.choices[0]?.delta?.content ? 1 : 0;
  return { ...turn(await stream.finalChatCompletion()), pieces };
}

await answerCases({
  ask: async (model, question) =>
    turn(await client.chat.completions.create({ model, messages: user(question) })),
  stream: (model, question) => streamed({ model, messages: user(question) }),
  stream_tool: (model, question) => streamed({ model, messages: user(question), tools }),
  use_tool: async (model, question) => {
    const messages = user(question);
    const asked = await client.chat.completions.create({ model, messages, tools });
    const { message } = asked.choices[0];
    messages.push(message);
    for (const call of message.tool_calls ?? []) {
      messages.push({ role: "tool", tool_call_id: call.id, content: TOOL_RESULT });
    }
    return [turn(asked), turn(await client.chat.completions.create({ model, messages, tools }))];
  },
});
