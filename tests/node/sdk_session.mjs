// What programs that put questions through an SDK have in common: they read cases, one JSON object a line, and
// print an answer a line, as long as somebody asks.
import readline from "node:readline";

export const TOOL = {
  name: "get_weather",
  description: "Tells the weather of a city.",
  schema: {
    type: "object",
    properties: {
      city: { type: "string", description: "Name of the city." },
      unit: { type: "string", enum: ["celsius", "fahrenheit"] },
    },
    required: ["city"],
  },
};
export const TOOL_RESULT = "21 degrees";

// `operations` are functions of a model and a question, by name; each gives one turn or several.
export async function answerCases(operations) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { operation, model, question } = JSON.parse(line);
    let result;
    try {
      result = { turns: [await operations[operation](model, question)].flat() };
    } catch (error) {
      result = { error: `${error?.name}: ${error?.message}\n${error?.responseBody ?? error?.stack}` };
    }
    console.log(JSON.stringify(result));
  }
}
