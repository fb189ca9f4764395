// The WebSocket API as a browser has it: Node's own WebSocket, which follows the same standard and sets no headers.
const [url, ...protocols] = process.argv.slice(2);
const socket = new WebSocket(url, protocols);
const messages = [];

socket.onopen = () => {
  const query = { model: "gpt-4o-mini", messages: [{ role: "user", content: "hello" }], stream: true };
  const request = { eventId: "e1", provider: "openai", endpoint: "chat/completions", query };
  socket.send(JSON.stringify({ type: "universal.create", request }));
};
socket.onmessage = ({ data }) => {
  messages.push(JSON.parse(data));
  if (["universal.done", "universal.error"].includes(messages.at(-1).type)) socket.close(1000);
};
socket.onclose = ({ code, wasClean }) =>
  console.log(JSON.stringify({ protocol: socket.protocol, code, wasClean, messages }));
