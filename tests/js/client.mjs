// Shared by the scripts: a WebSocket client whose messages can be awaited one by one.
//
// Works with Node's built-in WebSocket and the package `ws`, which have the same events. Nothing
// sleeps; an event that does not occur within TIMEOUT_MS is an error.

import assert from "node:assert/strict";

const TIMEOUT_MS = 15_000;

// A WebSocket with a queue of received messages. Await `opened` or `open` before use; `closed`
// resolves to code, reason and wasClean.
export class Client {
  #messages = [];
  #wake = null;

  constructor(socket) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", (event) => reject(new Error(event.message || "rejected")));
    });
    this.opened.catch(() => {}); // it may be awaited later or never
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

  // Returns the next message: text as a string, binary as a Buffer.
  async next() {
    if (this.#messages.length === 0) {
      await withTimeout("message", new Promise((resolve) => (this.#wake = resolve)));
      this.#wake = null;
    }
    return this.#messages.shift();
  }

  // Returns the next message, which must be text, parsed as JSON.
  async nextJson() {
    const text = await this.next();
    assert.equal(typeof text, "string");
    return JSON.parse(text);
  }

  // Returns the next message, text or binary, as a string.
  async nextText() {
    return String(await this.next());
  }

  // Returns the next message, text or binary, parsed as JSON.
  async nextPush() {
    return JSON.parse(await this.nextText());
  }

  send(message) {
    this.socket.send(message);
  }

  // Closes. Asserts that the gateway echoes the code without the reason and no message is unread.
  async close(code = 1000) {
    this.socket.close(code, "not echoed");
    const event = await withTimeout("close", this.closed);
    assert.deepEqual(event, { code, reason: "", wasClean: true });
    assert.deepEqual(this.#messages, []);
  }
}

// Waits until a socket is open and returns its Client.
export async function open(socket) {
  const client = new Client(socket);
  await withTimeout("open socket", client.opened);
  assert.equal(socket.extensions, "", "no extension is negotiated");
  return client;
}

// Asserts that the upgrade of a built-in WebSocket is rejected. As in a browser, the error has no
// details. Only some versions of Node.js emit `close` after `error`, so `close` is not awaited.
export async function expectRejection(socket) {
  const client = new Client(socket);
  const isNoTimeout = (error) => !error.message.startsWith("timeout: ");
  await assert.rejects(withTimeout("rejection", client.opened), isNoTimeout);
  assert.notEqual(socket.readyState, WebSocket.OPEN);
}

// Returns the status and body with which the upgrade of a `ws` socket is rejected.
export async function rejection(socket) {
  const rejected = new Promise((resolve, reject) => {
    socket.on("open", () => reject(new Error("the upgrade was accepted")));
    socket.on("unexpected-response", (request, response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => {
        request.socket.destroy(); // the gateway keeps the connection alive
        resolve([response.statusCode, body]);
      });
    });
  });
  return withTimeout("rejection", rejected);
}

// Awaits a promise. After TIMEOUT_MS it fails with an error that names `what`.
export async function withTimeout(what, promise) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timeout: no ${what}`)), TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

// The gateway's URL without a path, such as `ws://127.0.0.1:8080`.
export const base = process.argv[2];

// Prints `done`. The Rust test requires it as well as exit status 0.
export function done() {
  console.log("done");
}
