// The page of examples/projectforge.rs, run without a browser: its script gets a document with a
// form and a list, and Node's own WebSocket. A member of its channel sees what it says.

import assert from "node:assert/strict";
import { base, done, open, withTimeout } from "../client.mjs";

const page = await (await fetch(`${base.replace("ws:", "http:")}/example`)).text();
const script = page.match(/<script>(.*)<\/script>/s)[1];

// The next thing that happens, however early it does.
function queue() {
  const items = [];
  let wake = () => {};
  return {
    push: (item) => { items.push(item); wake(); },
    next: async (what) => {
      while (items.length === 0) await withTimeout(what, new Promise((resolve) => (wake = resolve)));
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
const received = async () => {
  const { cmd, param } = await member.nextJson();
  return [cmd, param.text];
};
new Function("document", "location", "WebSocket", script)(document, location, Socket);
const first = await sockets.next("a socket");
assert.match(await shown.next("a line"), /^pong at 20/);
assert.deepEqual(await received(), ["online-update", undefined]);
assert.deepEqual(await received(), ["pong", undefined]);

// White space around a text is cut off, and where nothing is left nothing is sent.
const submit = (text) => {
  input.value = text;
  let isPrevented = false;
  form.onsubmit({ preventDefault: () => (isPrevented = true) });
  assert.ok(isPrevented, "the page stays");
};
submit(" \t");
submit("");
submit("  hi there ");
assert.equal(input.value, "");
assert.deepEqual(await received(), ["chat", "hi there"]);
assert.equal(await shown.next("a line"), "Guest: hi there");

// What is written while there is no connection stays in the box until there is one again.
first.close(1000);
assert.match(await shown.next("a line"), /^closed with 1000/);
submit("later");
assert.equal(input.value, "later");
const second = await sockets.next("a second socket");
assert.notEqual(second, first);
assert.match(await shown.next("a line"), /^pong at 20/);
assert.deepEqual(await received(), ["online-update", undefined]);
assert.deepEqual(await received(), ["online-update", undefined]);
assert.deepEqual(await received(), ["pong", undefined]);
submit(input.value);
assert.deepEqual(await received(), ["chat", "later"]);

await member.close();
done();
process.exit();
