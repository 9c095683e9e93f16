// The dialect easyws with the package `ws`: the built-in WebSocket cannot send a cookie.

import assert from "node:assert/strict";
import { WebSocket as Ws } from "ws";
import { Client, base, done, expectRejection, open, rejection, withTimeout } from "./client.mjs";

const SUBPROTOCOL = "cmd.fossores.de";
const url = `${base}/easyws`;
const as = (token) => ({ headers: { cookie: `theme=dark; auth=${token}` } });

const client = await open(new Ws(url, ["other", SUBPROTOCOL], as("any")));
assert.equal(client.socket.protocol, SUBPROTOCOL);
const uuid = /^welcome: Hello [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
assert.match(await client.next(), uuid);

async function expectReply(message, reply) {
  client.send(message);
  assert.equal(await client.next(), reply);
}

const unsupported = "websocket: command not supported by server";
await expectReply("echo: hi: there ", "echo: hi: there ");
await expectReply(Buffer.from("echo: as text"), "echo: as text");
await expectReply("echo:x", unsupported);
await expectReply("", unsupported);
await expectReply("websocket: x", unsupported);
await expectReply("Echo: x", unsupported);
await expectReply(`${"c".repeat(254)}: x`, unsupported);
client.send("echo: "); // an empty reply is not sent
client.send("listen: test"); // success is not answered
await expectReply("listen: test", "websocket: already listening");
await expectReply("listen: test ", "websocket: channel does not exist");
await expectReply("listen: restricted", "websocket: not authorized");

// Another session publishes to the channel and pushes to this session.
const other = await open(new Ws(url, as("valid")));
assert.equal(other.socket.protocol, "", "none was offered");
const id = (await other.next()).slice("welcome: Hello ".length);
other.send("listen: restricted"); // allowed for this token
other.send("listen: restricted");
assert.equal(await other.next(), "websocket: already listening");
other.send("thank: you");
assert.equal(await client.next(), "thanks: Thank you for listening!");
client.send(`whisper: ${id}`);
assert.equal(await other.next(), "direct: This message is only sent to a single client");
for (let index = 0; index < 200; index += 1) other.send("thank: you");
for (let index = 0; index < 200; index += 1) {
  assert.equal(await client.next(), "thanks: Thank you for listening!");
}

// The gateway selects none of other subprotocols, and `ws` then fails the connection.
const unmatched = new Client(new Ws(url, ["other"], as("any")));
await assert.rejects(withTimeout("rejection", unmatched.opened), /Server sent no subprotocol/);

// Rejected: no cookie, another cookie, another origin.
const failed = [403, "Authentication failed\n"];
assert.deepEqual(await rejection(new Ws(url)), failed);
assert.deepEqual(await rejection(new Ws(url, { headers: { cookie: "Auth=x" } })), failed);
await expectRejection(new WebSocket(url));
const elsewhere = { ...as("any"), origin: "http://elsewhere.example" };
assert.deepEqual(await rejection(new Ws(url, elsewhere)), [403, "Forbidden\n"]);
const here = { ...as("any"), origin: base.replace("ws:", "http:") };
const same = await open(new Ws(url, here));
assert.match(await same.next(), uuid);

await same.close(1001);
await other.close();
await client.close(4000);
done();
