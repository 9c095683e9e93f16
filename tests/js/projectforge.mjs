// The dialect projectforge with Node's built-in WebSocket and `ws`.

import assert from "node:assert/strict";
import { WebSocket as Ws } from "ws";
import { base, done, open, rejection, withTimeout } from "./client.mjs";

const url = `${base}/example/socket`;

for (const Socket of [WebSocket, Ws]) {
  const room = `room of ${Socket.name} & others`;
  const first = await open(new Socket(`${url}?ch=${encodeURIComponent(room)}`));
  const second = await open(new Socket(`${url}?ch=${encodeURIComponent(room)}`));
  const send = (client, message) => client.send(JSON.stringify(message, null, 2));

  // Presence goes to the other members, not to the joining session.
  const joined = await first.nextJson();
  const { from } = joined;
  assert.match(from, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  const presence = (channel, connected) => {
    return { from, channel, cmd: "online-update", param: { userID: from, connected } };
  };
  assert.deepEqual(joined, presence(room, true));

  // A relayed parameter keeps the text of its numbers, is indented and has the sender as `from`.
  second.send(`{"cmd":"echo","channel":"x","param":{"n":[1e2,-0],"t":"\\u00e9\\/<","e":{}}}`);
  assert.equal(
    await second.next(),
    `{\n  "from": "${from}",\n  "channel": "x",\n  "cmd": "echo",\n  "param": {\n` +
      `    "n": [\n      1e2,\n      -0\n    ],\n    "t": "\u00e9/<",\n    "e": {}\n  }\n}`,
  );

  // Publications reach both members in order.
  for (let index = 0; index < 150; index += 1) {
    send(second, { channel: room, cmd: "say", param: index });
  }
  for (const client of [first, second]) {
    for (let index = 0; index < 150; index += 1) {
      assert.deepEqual(await client.nextJson(), { channel: room, cmd: "said", param: index });
    }
  }

  // An unknown command and a message without `cmd` (keys are case-sensitive) have no reply.
  send(first, { cmd: "unknown" });
  send(first, { CMD: "echo" });
  send(second, { cmd: "leave", channel: room });
  assert.deepEqual(await first.nextJson(), presence(room, false));
  send(second, { cmd: "join", channel: room });
  assert.deepEqual(await first.nextJson(), presence(room, true));
  await second.close();
  assert.deepEqual(await first.nextJson(), presence(room, false));

  // The gateway requests a close by a message; the client closes.
  send(first, { cmd: "quit" });
  assert.equal(await first.next(), '{\n  "cmd": "close-connection",\n  "param": null\n}');
  await first.close();

  // An invalid message closes the session with 1007.
  const bad = await open(new Socket(url));
  bad.send('{"cmd":"a","cmd":"b"}');
  const { code, wasClean } = await withTimeout("close", bad.closed);
  assert.deepEqual({ code, wasClean }, { code: 1007, wasClean: true });
}

// Upgrades from another origin are rejected.
const elsewhere = { origin: "http://elsewhere.example" };
assert.deepEqual(await rejection(new Ws(url, elsewhere)), [403, "Forbidden\n"]);
const here = await open(new Ws(url, { origin: base.replace("ws:", "http:") }));
await here.close();
done();
