// The page of examples/projectforge.rs without a browser: its script runs with a stub document and
// Node's WebSocket. A second session on its channel checks the messages.

import assert from "node:assert/strict";
import { base, done, open, withTimeout } from "../client.mjs";

const page = await (await fetch(`${base.replace("ws:", "http:")}/example`)).text();
const script = page.match(/<script>(.*)<\/script>/s)[1];

// A queue whose `next` waits for an item.
function queue() {
  const items = [];
  let wake = () => {};
  return {
    push: (item) => { items.push(item); wake(); },
    next: async (what) => {
      while (items.length === 0) {
        await withTimeout(what, new Promise((resolve) => (wake = resolve)));
      }
      return items.shift();
    },
  };
}

const shown = queue();
const sockets = queue();
class Socket extends WebSocket {
  constructor(url) {
    super(url);
    sockets.push(this);
  }
}
const input = { value: "" };
const form = {};
const messages = { append: (item) => shown.push(item.textContent) };
const elements = { form, text: input, messages };
const document = { createElement: () => ({}), getElementById: (id) => elements[id] };
const location = { search: "?ch=a%26b", protocol: "http:", host: new URL(base).host };

const member = await open(new WebSocket(`${base}/example/socket?ch=a%26b`));
const receive = async () => {
  const { cmd, param } = await member.nextJson();
  return [cmd, param.text];
};
new Function("document", "location", "WebSocket", script)(document, location, Socket);
const first = await sockets.next("socket");
assert.match(await shown.next("line"), /^pong at 20/);
assert.deepEqual(await receive(), ["online-update", undefined]);
assert.deepEqual(await receive(), ["pong", undefined]);

// The page trims texts and does not send empty ones.
const submit = (text) => {
  input.value = text;
  let isPrevented = false;
  form.onsubmit({ preventDefault: () => (isPrevented = true) });
  assert.ok(isPrevented, "the form is not submitted by the browser");
};
submit(" \t");
submit("");
submit("  hi there ");
assert.equal(input.value, "");
assert.deepEqual(await receive(), ["chat", "hi there"]);
assert.equal(await shown.next("line"), "Guest: hi there");

// A text entered without a connection stays in the input and can be sent after the reconnect.
first.close(1000);
assert.match(await shown.next("line"), /^closed with 1000/);
submit("later");
assert.equal(input.value, "later");
const second = await sockets.next("second socket");
assert.notEqual(second, first);
assert.match(await shown.next("line"), /^pong at 20/);
assert.deepEqual(await receive(), ["online-update", undefined]);
assert.deepEqual(await receive(), ["online-update", undefined]);
assert.deepEqual(await receive(), ["pong", undefined]);
submit(input.value);
assert.deepEqual(await receive(), ["chat", "later"]);

await member.close();
done();
process.exit();
