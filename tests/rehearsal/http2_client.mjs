// Asks over HTTP/2 what comes as lines of JSON on its input, one after the other, and answers each with a line.
// A connection that its server is closing is used to the end of what runs on it, and the next question opens another.
import http2 from "node:http2";
import readline from "node:readline";

const options = JSON.parse(process.argv[2]);
let session = null;

function connect() {
  if (session && !session.closed && !session.destroyed && !session.leaving) return session;
  session = http2.connect(options.origin, {
    ...(options.ca ? { ca: options.ca } : {}),
    ...(options.servername ? { servername: options.servername } : {}),
  });
  const opened = session;
  opened.setTimeout(0);
  opened.on("goaway", () => { opened.leaving = true; });
  opened.on("error", (error) => { opened.leaving = true; opened.why = error; });
  return opened;
}

function ask({ path, headers, body }) {
  return new Promise((resolve) => {
    const result = { status: null, headers: {}, body: "", firstS: null, broke: "" };
    const over = (broke) => {
      if (broke && !result.broke) result.broke = String(broke);
      clearTimeout(silence);
      resolve(result);
    };
    let silence = setTimeout(() => {}, 0);
    const wait = (ms) => {
      clearTimeout(silence);
      silence = setTimeout(() => { opened.destroy(); over("silence"); }, ms);
    };
    const opened = connect();
    const request = opened.request({ ":method": "POST", ":path": path, ...headers });
    wait(opened.connecting ? options.connectMs + options.silenceMs : options.silenceMs);
    request.setEncoding("utf8");
    request.on("response", (answer) => {
      result.status = answer[":status"];
      for (const [name, value] of Object.entries(answer)) {
        if (!name.startsWith(":")) result.headers[name] = String(value);
      }
    });
    request.on("data", (piece) => {
      result.firstS ??= Date.now() / 1000;
      result.body += piece;
      wait(options.silenceMs);
    });
    request.on("end", () => { if (request.rstCode === 0) over(""); });
    request.on("error", (error) => over(error));
    request.on("close", () => over(request.rstCode ? `reset ${request.rstCode}` : opened.why ?? ""));
    request.end(body);
  });
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let result;
  try {
    result = await ask(JSON.parse(line));
  } catch (error) {
    session = null;
    result = { status: null, headers: {}, body: "", firstS: null, broke: String(error) };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
process.exit(0);
