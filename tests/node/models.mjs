// Lists the models that can be asked for; prints their names.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const names = [];
for await (const model of client.models.list()) names.push(model.id);
console.log(JSON.stringify({ names }));
