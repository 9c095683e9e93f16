// The dialect edk with Node's built-in WebSocket and `ws`; protobufjs encodes the messages.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { WebSocket as Ws } from "ws";
import { Client, base, done, expectRejection, open, rejection, withTimeout } from "./client.mjs";

const schema = await protobuf.load(fileURLToPath(new URL("ws.proto", import.meta.url)));
const Message = schema.lookupType("ws.Message");
const encode = (message) => Message.encode(Message.create(message)).finish();
const bytes = (text) => Buffer.from(text);

async function read(client) {
  const message = await client.next();
  assert.ok(Buffer.isBuffer(message), "it is a binary frame");
  const { type, payload, id } = Message.decode(message);
  return { type, payload: Buffer.from(payload).toString(), id };
}

async function expectEcho(client, id) {
  client.send(encode({ type: "echo", payload: bytes("hi"), id }));
  assert.deepEqual(await read(client), { type: "echo", payload: "hi", id });
}

// The example of docs/dialects/edk.md, "Messages".
assert.equal(
  Buffer.from(encode({ type: "chat", payload: bytes("hi") })).toString("hex"),
  "0a046368617412026869",
);

// The subprotocol is the token, as in a browser; it determines the user.
const first = await open(new WebSocket(`${base}/edk`, ["token-of-jack"]));
assert.equal(first.socket.protocol, "token-of-jack");
await expectEcho(first, "1");
await expectEcho(first, "");

// Invalid messages and unknown commands are ignored; text frames are accepted as binary ones are.
first.send(Uint8Array.of(0x0a, 4, 0x63));
first.send(new Uint8Array(0));
first.send(encode({ type: "unknown", id: "2" }));
first.send(Buffer.from(encode({ type: "echo", payload: bytes("text"), id: "3" })).toString());
assert.deepEqual(await read(first), { type: "echo", payload: "text", id: "3" });
const large = "x".repeat(100_000);
first.send(encode({ type: "echo", payload: bytes(large) }));
assert.deepEqual(await read(first), { type: "echo", payload: large, id: "" });

// A push to the user reaches his session.
const notify = (client) => client.send(encode({ type: "notify", payload: bytes("jack") }));
const news = { type: "news", payload: "for jack", id: "" };
notify(first);
assert.deepEqual(await read(first), news);

// One session per user: a new session replaces the old one, which is closed with 4001. A session
// opened on that close replaces the new one in turn.
const replaced = { code: 4001, reason: "replaced by a new connection", wasClean: true };
const reconnected = new Promise((resolve, reject) => {
  first.socket.addEventListener("close", ({ code }) => {
    if (code !== 4001) return reject(new Error(`closed with ${code}`));
    open(new WebSocket(`${base}/edk`, ["token-of-jack"])).then(resolve, reject);
  });
});
const second = await open(new WebSocket(`${base}/edk`, ["token-of-jack"]));
assert.deepEqual(await withTimeout("close", first.closed), replaced);
const third = await withTimeout("reconnect", reconnected);
assert.deepEqual(await withTimeout("close", second.closed), replaced);
await expectEcho(third, "4");

// Another user's push reaches only jack's current session.
const jill = await open(
  new Ws(`${base}/edk`, "token-of-jill", { headers: { "x-user-id": "jill" } }),
);
assert.equal(jill.socket.protocol, "token-of-jill");
notify(jill);
assert.deepEqual(await read(third), news);
await expectEcho(jill, "5");
await third.close();
await jill.close(4321);

// Rejected: an unknown token, a token of another user than the header names, no token.
await expectRejection(new WebSocket(`${base}/edk`, ["token-of-nobody"]));
const headers = { "x-user-id": "jill" };
const unauthorized = [401, "invalid token\n"];
assert.deepEqual(await rejection(new Ws(`${base}/edk`, "token-of-nobody")), unauthorized);
const mismatch = new Ws(`${base}/edk`, "token-of-jack", { headers });
assert.deepEqual(await rejection(mismatch), unauthorized);
assert.deepEqual(await rejection(new Ws(`${base}/edk`)), [401, "missing token\n"]);

// With `kick_out_new_user_conn` the new session is rejected and the old one is not affected.
const old = await open(new WebSocket(`${base}/edk-first`, ["token-of-jack"]));
const taken = [409, "the user is connected already\n"];
assert.deepEqual(await rejection(new Ws(`${base}/edk-first`, "token-of-jack")), taken);
await expectRejection(new WebSocket(`${base}/edk-first`, ["token-of-jack"]));
await expectEcho(old, "6");
await old.close();
const next = new Client(new WebSocket(`${base}/edk-first`, ["token-of-jack"]));
await withTimeout("open socket", next.opened);
await next.close();

done();
