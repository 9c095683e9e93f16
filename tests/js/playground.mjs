// The playground page: runs its script with Node's built-in WebSocket and stubs of the browser
// objects that it uses.

import assert from "node:assert/strict";
import vm from "node:vm";
import { base, done } from "./client.mjs";

// A stub of an element: its value, children and listeners.
class Element {
  listeners = {};
  children = [];
  value = "";

  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }

  prepend(child) {
    this.children.unshift(child);
  }
}

// Runs the script of a route's page, connects, and returns the page's elements, timers, sent
// messages and a function that waits for a line of its log.
async function connect(path) {
  const page = await (await fetch(`${base.replace("ws:", "http:")}/playground${path}`)).text();
  const [, script] = page.match(/<script>(.*)<\/script>/s);
  const elements = {};
  const intervals = new Map();
  const sent = [];
  class Socket extends WebSocket {
    send(message) {
      sent.push(message);
      super.send(message);
    }
  }
  const byId = (id) => (elements[id] ??= new Element());
  byId("text").value = "hello";
  const browser = {
    document: { getElementById: byId, createElement: () => new Element(), cookie: "" },
    location: new URL(base.replace("ws:", "http:")),
    WebSocket: Socket,
    setInterval: (callback, ms) => intervals.set(intervals.size + 1, { callback, ms }).size,
    clearInterval: (id) => intervals.delete(id),
  };
  vm.runInNewContext(script, browser);
  const lines = () => byId("log").children.map((line) => line.textContent);
  const until = async (wanted) => {
    while (!lines().includes(wanted)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  byId("connect").listeners.submit({ preventDefault() {} });
  await until("open");
  return { byId, intervals, sent, until };
}

// wsrv closes a client that sends nothing for 30 s, so the page sends an empty message before.
const wsrv = await connect("/wsrv");
const [[, { callback, ms }]] = wsrv.intervals;
assert.ok(ms < 30_000, `${ms} ms`);
callback();
callback();
assert.deepEqual(wsrv.sent, ["", ""]);
wsrv.byId("close").listeners.click();
await wsrv.until("closed 1000");
assert.equal(wsrv.intervals.size, 0, "the timer of a closed socket is removed");

// In other dialects pongs keep a session open, so the page sends no empty messages.
const ws = await connect("/ws");
assert.equal(ws.intervals.size, 0);
ws.byId("send").listeners.submit({ preventDefault() {} });
assert.deepEqual(ws.sent, ["hello"]);
ws.byId("close").listeners.click();
await ws.until("closed 1000");

done();
