// What every script here needs: a WebSocket whose messages can be awaited one by one.
//
// It works with Node's built-in WebSocket and with the package `ws`, which have the same events.
// Nothing here sleeps; whatever does not come within PATIENCE_MS is an error.

import assert from "node:assert/strict";

const TIMEOUT_MS = 15_000;

// A socket that has opened, or one that was refused.
export class Client {
  #messages = [];
  #wake = null;

  constructor(socket) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", (event) => reject(new Error(event.message || "refused")));
    });
    this.opened.catch(() => {}); // for whoever awaits it
    this.closed = new Promise((resolve) => {
      socket.addEventListener("close", ({ code, reason, wasClean }) => {
        resolve({ code, reason, wasClean });
      });
    });
    socket.addEventListener("message", ({ data }) => {
      this.#messages.push(typeof data === "string" ? data : Buffer.from(data));
      this.#wake?.();
    });
  }

  // The next message: text as a string, binary as a Buffer.
  async next() {
    if (this.#messages.length === 0) {
      await withTimeout("a message", new Promise((resolve) => (this.#wake = resolve)));
      this.#wake = null;
    }
    return this.#messages.shift();
  }

  // The next message, which is text, as JSON.
  async nextJson() {
    const text = await this.next();
    assert.equal(typeof text, "string");
    return JSON.parse(text);
  }

  // The next message, text or binary, as text.
  async nextText() {
    return String(await this.next());
  }

  // The same as JSON.
  async nextPush() {
    return JSON.parse(await this.nextText());
  }

  send(message) {
    this.socket.send(message);
  }

  // Closes, and sees the code come back without a reason and nothing left unread.
  async close(code = 1000) {
    this.socket.close(code, "not echoed");
    const event = await withTimeout("a close", this.closed);
    assert.deepEqual(event, { code, reason: "", wasClean: true });
    assert.deepEqual(this.#messages, []);
  }
}

// Waits until a socket is open.
export async function open(socket) {
  const client = new Client(socket);
  await withTimeout("an open socket", client.opened);
  assert.equal(socket.extensions, "", "no extension is agreed on");
  return client;
}

// How a built-in WebSocket is refused: without any detail, as in a browser. Whether `close`
// follows `error` differs from one version of Node.js to the next.
export async function expectRejection(socket) {
  const client = new Client(socket);
  const isNoTimeout = (error) => !error.message.endsWith("does not come");
  await assert.rejects(withTimeout("a refusal", client.opened), isNoTimeout);
  assert.notEqual(socket.readyState, WebSocket.OPEN);
}

// How a `ws` socket is refused: the status and the body.
export async function rejection(socket) {
  const rejected = new Promise((resolve, reject) => {
    socket.on("open", () => reject(new Error("it was let in")));
    socket.on("unexpected-response", (request, response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => {
        request.socket.destroy(); // the gateway would keep it for another request
        resolve([response.statusCode, body]);
      });
    });
  });
  return withTimeout("an answer", rejected);
}

export async function withTimeout(what, promise) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not come`)), TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

// Where the gateway is, such as `ws://127.0.0.1:8080`.
export const base = process.argv[2];

// Told to whoever started the script, who believes no exit status alone.
export function done() {
  console.log("done");
}
