// Asks one question; prints the answer, why it ended and what was used.
import OpenAI from "openai";

const [model, question] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY
const { data, response } = await client.chat.completions
  .create({ model, messages: [{ role: "user", content: question }] })
  .withResponse();
const [choice] = data.choices;
console.log(
  JSON.stringify({
    text: choice.message.content,
    finishReason: choice.finish_reason,
    usage: data.usage,
    provider: response.headers.get("cf-aig-provider"),
    logId: response.headers.get("cf-aig-log-id"),
  }),
);
