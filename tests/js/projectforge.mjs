// The dialect projectforge, spoken by Node's built-in WebSocket and by `ws`.

import assert from "node:assert/strict";
import { WebSocket as Ws } from "ws";
import { rejection, base, done, open, withTimeout } from "./client.mjs";

const url = `${base}/example/socket`;

for (const Socket of [WebSocket, Ws]) {
  const room = `room of ${Socket.name} & others`;
  const first = await open(new Socket(`${url}?ch=${encodeURIComponent(room)}`));
  const second = await open(new Socket(`${url}?ch=${encodeURIComponent(room)}`));
  const send = (client, message) => client.send(JSON.stringify(message, null, 2));

  // Who comes is told nothing, the others are.
  const came = await first.nextJson();
  const { from } = came;
  assert.match(from, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  const presence = (channel, connected) => {
    return { from, channel, cmd: "online-update", param: { userID: from, connected } };
  };
  assert.deepEqual(came, presence(room, true));

  // A relayed parameter keeps its numbers and is indented anew; it comes from the sender.
  second.send(`{"cmd":"echo","channel":"x","param":{"n":[1e2,-0],"t":"\\u00e9\\/<","e":{}}}`);
  assert.equal(
    await second.next(),
    `{\n  "from": "${from}",\n  "channel": "x",\n  "cmd": "echo",\n  "param": {\n` +
      `    "n": [\n      1e2,\n      -0\n    ],\n    "t": "\u00e9/<",\n    "e": {}\n  }\n}`,
  );

  // What is published reaches both, in order.
  for (let index = 0; index < 150; index += 1) {
    send(second, { channel: room, cmd: "say", param: index });
  }
  for (const client of [first, second]) {
    for (let index = 0; index < 150; index += 1) {
      assert.deepEqual(await client.nextJson(), { channel: room, cmd: "said", param: index });
    }
  }

  // Nobody handles it, and key names are case-sensitive: nothing comes.
  send(first, { cmd: "unknown" });
  send(first, { CMD: "echo" });
  send(second, { cmd: "leave", channel: room });
  assert.deepEqual(await first.nextJson(), presence(room, false));
  send(second, { cmd: "join", channel: room });
  assert.deepEqual(await first.nextJson(), presence(room, true));
  await second.close();
  assert.deepEqual(await first.nextJson(), presence(room, false));

  // Being asked to go is a message; the client goes by itself.
  send(first, { cmd: "quit" });
  assert.equal(await first.next(), '{\n  "cmd": "close-connection",\n  "param": null\n}');
  await first.close();

  // What is not understood ends the connection, and says so.
  const bad = await open(new Socket(url));
  bad.send('{"cmd":"a","cmd":"b"}');
  const { code, wasClean } = await withTimeout("a close", bad.closed);
  assert.deepEqual({ code, wasClean }, { code: 1007, wasClean: true });
}

// Pages from elsewhere are not let in.
const elsewhere = { origin: "http://elsewhere.example" };
assert.deepEqual(await rejection(new Ws(url, elsewhere)), [403, "Forbidden\n"]);
const here = await open(new Ws(url, { origin: base.replace("ws:", "http:") }));
await here.close();
done();
