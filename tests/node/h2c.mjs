// Asks one question over HTTP/2 without TLS, from the first byte; prints the status and the answer.
import http2 from "node:http2";

const [origin, model, question] = process.argv.slice(2);
const session = http2.connect(origin);
const request = session.request({
  ":method": "POST",
  ":path": "/v1/chat/completions",
  "content-type": "application/json",
  authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
});
request.setEncoding("utf8");
request.end(JSON.stringify({ model, messages: [{ role: "user", content: question }] }));
const result = { status: null, body: "" };
request.on("response", (headers) => {
  result.status = headers[":status"];
});
for await (const piece of request) result.body += piece;
session.close();
console.log(JSON.stringify({ status: result.status, text: JSON.parse(result.body).choices[0].message.content }));
