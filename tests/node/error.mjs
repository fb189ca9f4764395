// Asks for what cannot be had; prints how the SDK understood the refusal.
import OpenAI from "openai";

const [model] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
try {
  await client.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }] });
  console.log(JSON.stringify({ raised: null }));
} catch (error) {
  console.log(
    JSON.stringify({
      raised: error.constructor.name,
      status: error.status,
      code: error.code,
      type: error.type,
      message: error.message,
    }),
  );
}
