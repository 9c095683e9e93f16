// The dialect wserver with Node's built-in WebSocket and `ws`; fetch sends the pushes.

import assert from "node:assert/strict";
import { WebSocket as Ws } from "ws";
import { base, done, open, withTimeout } from "./client.mjs";

async function post(path, body) {
  const url = base.replace("ws:", "http:") + path;
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  return [response.status, await response.text()];
}

const push = (userId, event, message) => post("/push", { userId, event, message });
const sent = (count) => [200, `message sent to ${count} clients`];

// Registers and pushes until the push finds the session: a registration has no response.
async function waitUntilRegistered(client, user, event, count) {
  client.send(JSON.stringify({ token: user, event }));
  let result;
  do result = await push(user, event, "here?");
  while (result[1] === sent(count - 1)[1]);
  assert.deepEqual(result, sent(count));
  assert.equal(await client.next(), "here?");
}

for (const Socket of [WebSocket, Ws]) {
  const client = await open(new Socket(`${base}/ws`));
  client.send("not JSON");
  client.send('{"token":"","event":"e"}');
  await waitUntilRegistered(client, "jack", "topic1", 1);

  const message = "\u00e9 <b> \u2028 \u{1f600}\n";
  assert.deepEqual(await push("jack", "topic1", message), sent(1));
  assert.equal(await client.next(), message);
  assert.deepEqual(await push("jack", "topic2", message), sent(0));
  assert.deepEqual(await push("Jack", "topic1", message), sent(0));
  assert.deepEqual(await push("jack", "topic1", ""), [400, "request data illegal"]);

  // A session keeps its first event; a second registration adds a user.
  client.send(JSON.stringify({ token: "jack", event: "topic2" }));
  await waitUntilRegistered(client, "jill", "topic2", 1);
  assert.deepEqual(await push("jack", "topic2", message), sent(0));

  // Two sessions of one user and eight concurrent pushes: no message is lost.
  const other = await open(new Socket(`${base}/ws`));
  other.send(JSON.stringify({ Token: "jack", Event: "topic1" }));
  let both;
  do both = await push("jack", "topic1", "both?");
  while (both[1] === sent(1)[1] && (await client.next()));
  assert.deepEqual(both, sent(2));
  assert.equal(await client.next(), "both?");
  assert.equal(await other.next(), "both?");
  const texts = Array.from({ length: 200 }, (_, index) => `message ${index}`);
  for (let index = 0; index < texts.length; index += 8) {
    const some = texts.slice(index, index + 8);
    const results = await Promise.all(some.map((text) => push("jack", "topic1", text)));
    for (const result of results) assert.deepEqual(result, sent(2));
  }
  for (const socket of [client, other]) {
    const received = [];
    for (const _ of texts) received.push(await socket.next());
    assert.deepEqual(received.sort(), [...texts].sort());
  }

  // Unlike in the original, a close frame is echoed, and a drop closes with 1000.
  await client.close();
  assert.deepEqual(await push("jill", "topic2", "gone?"), sent(0));
  assert.deepEqual(await post("/drop", { userId: "jack", event: "" }), [
    200,
    "dropped 1 connections",
  ]);
  const { code, wasClean } = await withTimeout("close", other.closed);
  assert.deepEqual({ code, wasClean }, { code: 1000, wasClean: true });
}
done();
