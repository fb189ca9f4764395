// Lets the model call a tool, gives it the tool's result, and prints both turns.
import OpenAI from "openai";

const [model, question] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const messages = [{ role: "user", content: question }];
const first = await client.chat.completions.create({ model, messages, tools });
const [asked] = first.choices;
const calls = asked.message.tool_calls ?? [];
messages.push(asked.message);
for (const call of calls) {
  messages.push({ role: "tool", tool_call_id: call.id, content: "21 degrees" });
}
const second = await client.chat.completions.create({ model, messages, tools });
console.log(
  JSON.stringify({
    asked: {
      finishReason: asked.finish_reason,
      calls: calls.map(({ function: f }) => ({ name: f.name, arguments: JSON.parse(f.arguments) })),
    },
    answered: { finishReason: second.choices[0].finish_reason, text: second.choices[0].message.content },
  }),
);
