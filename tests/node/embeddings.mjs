// Turns two texts into vectors; prints their lengths and what was used.
import OpenAI from "openai";

const [model] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const answer = await client.embeddings.create({ model, input: ["first text", "second text"] });
console.log(
  JSON.stringify({ lengths: answer.data.map((item) => item.embedding.length), usage: answer.usage }),
);
