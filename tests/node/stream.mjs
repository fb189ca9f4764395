// Asks one question, streaming; prints the pieces, why it ended and what was used.
import OpenAI from "openai";

const [model, question] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: question }],
  stream: true,
  stream_options: { include_usage: true },
});
const result = { pieces: [], finishReason: null, usage: null };
for await (const chunk of stream) {
  const [choice] = chunk.choices;
  if (choice?.delta?.content) result.pieces.push(choice.delta.content);
  result.finishReason = choice?.finish_reason ?? result.finishReason;
  result.usage = chunk.usage ?? result.usage;
}
console.log(JSON.stringify(result));
