// The default config: two clients chat in every dialect that supports it, and pushes of the server
// API arrive in each dialect's form.

import assert from "node:assert/strict";
import protobuf from "protobufjs";
import { Gateway, done } from "./fixture.mjs";

const gateway = await Gateway.startPlain();

// wsrv: every command has a response; a publication reaches the sender too, before its response.
{
  const [ann, bob] = [await gateway.connect("/wsrv"), await gateway.connect("/wsrv")];
  const call = async (client, cmd, data) => {
    client.send(JSON.stringify({ cmd, seqno: "1", data }));
    return client.nextText();
  };
  const response = (cmd, status, msg, data = {}) =>
    JSON.stringify({ cmd, seqno: "1", status, msg, data });
  const notMember = response("publish", -1, "not on the channel");
  assert.equal(await call(ann, "publish", { channel: "room", data: "x" }), notMember);
  assert.equal(await call(ann, "join", "room"), response("join", 0, "ok"));
  assert.equal(await call(bob, "join", { channel: "room" }), response("join", 0, "ok"));
  assert.equal(await call(bob, "join", "room"), response("join", 0, "ok"));
  ann.send(
    JSON.stringify({ cmd: "publish", seqno: "2", data: { channel: "room", data: { n: 1 } } }),
  );
  for (const client of [ann, bob]) {
    const { seqno, ...push } = await client.nextPush();
    assert.match(seqno, /^[a-zA-Z0-9$@]{8}$/);
    assert.deepEqual(push, { cmd: "publish", status: 0, msg: "ok", data: { n: 1 } });
  }
  assert.equal(JSON.parse(await ann.nextText()).seqno, "2");
  assert.equal(await call(bob, "leave", "room"), response("leave", 0, "ok"));
  assert.equal(await call(bob, "leave", "room"), response("leave", -1, "not on the channel"));
  assert.equal(await call(bob, "join", 5), response("join", -1, "no channel is named"));
  assert.equal(await call(bob, "join", ""), response("join", -1, "no channel is named"));
  assert.equal(
    await call(bob, "echo", [1, "<"]),
    response("echo", 0, "ok", [1, "<"]).replace("<", "\\u003c"),
  );
  assert.equal(await call(bob, "hello"), response("hello", 0, "ok", "world"));
  assert.equal(await call(bob, "nothing"), response("nothing", -1, "not implement"));
  const { delivered } = await gateway.call("publish", {
    channel: "room",
    event: "news",
    data: [1e2],
  });
  assert.equal(delivered, 1);
  const { cmd, data } = await ann.nextPush();
  assert.deepEqual([cmd, data], ["news", [100]]);
  await ann.close();
  await bob.close();
}

// easyws: success has no reply; denials have the original's texts.
{
  const cookie = { headers: { cookie: "auth=x" } };
  const [ann, bob] = [
    await gateway.connect("/easyws", cookie),
    await gateway.connect("/easyws", cookie),
  ];
  ann.send("publish: room hi");
  assert.equal(await ann.next(), "websocket: not on the channel");
  ann.send("join: room");
  bob.send("listen: room");
  bob.send("join: room");
  assert.equal(await bob.next(), "websocket: already listening");
  ann.send("publish: room hi there: all");
  assert.equal(await ann.next(), "publish: hi there: all");
  assert.equal(await bob.next(), "publish: hi there: all");
  bob.send("leave: room");
  bob.send("hello: ");
  assert.equal(await bob.next(), "hello: world");
  bob.send("echo: x: y");
  assert.equal(await bob.next(), "echo: x: y");
  bob.send("nothing: x");
  assert.equal(await bob.next(), "websocket: command not supported by server");
  await gateway.call("publish", { channel: "room", event: "thanks", data: "for listening" });
  assert.equal(await ann.next(), "thanks: for listening");
  await ann.close();
  await bob.close();
}

// projectforge: the channel is in the URL and in each message.
{
  const ann = await gateway.connect("/projectforge?ch=room");
  const bob = await gateway.connect("/projectforge?ch=room");
  assert.equal((await ann.nextJson()).cmd, "online-update");
  bob.send(JSON.stringify({ channel: "room", cmd: "publish", param: { text: "hi" } }));
  const received = await ann.next();
  const { from } = JSON.parse(received);
  assert.match(from, /^[0-9a-f-]{36}$/);
  const expected = { from, channel: "room", cmd: "publish", param: { text: "hi" } };
  assert.equal(received, JSON.stringify(expected, null, 2));
  assert.equal(await bob.next(), received);
  bob.send(JSON.stringify({ channel: "hall", cmd: "publish", param: 1 }));
  assert.deepEqual(await bob.nextJson(), {
    channel: "hall",
    cmd: "error",
    param: { cmd: "publish", message: "not on the channel" },
  });
  bob.send(JSON.stringify({ channel: "hall", cmd: "join" }));
  bob.send(JSON.stringify({ channel: "hall", cmd: "publish", param: 2 }));
  assert.deepEqual([(await bob.nextJson()).param, 2], [2, 2]);
  bob.send(JSON.stringify({ channel: "hall", cmd: "leave" }));
  bob.send(JSON.stringify({ cmd: "hello" }));
  assert.deepEqual(await bob.nextJson(), { cmd: "hello", param: "world" });
  await gateway.call("publish", { channel: "room", event: "news", data: { b: 1 } });
  assert.deepEqual(await ann.nextJson(), { channel: "room", cmd: "news", param: { b: 1 } });
  await bob.next();
  await bob.close();
  assert.equal((await ann.nextJson()).cmd, "online-update");
  await ann.close();
}

// edk: every message is published to all sessions unchanged.
{
  const as = (user) => ({ headers: { "x-user-id": user }, protocols: ["token"] });
  const [ann, bob] = [
    await gateway.connect("/edk", as("ann")),
    await gateway.connect("/edk", as("bob")),
  ];
  const { root } = protobuf.parse('syntax = "proto3"; message M { string a = 1; bytes b = 2; }');
  const M = root.lookupType("M");
  const bytes = Buffer.from(M.encode(M.create({ a: "chat", b: Buffer.from("hi") })).finish());
  ann.send(bytes);
  assert.deepEqual(await ann.next(), bytes);
  assert.deepEqual(M.decode(await bob.next()).a, "chat");
  const { delivered } = await gateway.call("push", {
    user: "bob",
    bytes: bytes.toString("base64"),
  });
  assert.equal(delivered, 1);
  assert.deepEqual(await bob.next(), bytes);
  await ann.close();
  await bob.close();
}

// wserver: clients only register; a push goes to the sessions of its user and event.
{
  const jack = await gateway.connect("/ws");
  jack.send(JSON.stringify({ token: "jack", event: "topic1" }));
  let total = "";
  while (total !== "message sent to 1 clients") {
    const push = { userId: "jack", event: "topic1", message: "Hello World" };
    total = (await gateway.request("POST", "/push", push)).body;
  }
  assert.equal(await jack.next(), "Hello World");
  assert.deepEqual(await gateway.call("push", { user: "jack", event: "topic2", data: "no" }), {
    delivered: 0,
  });
  assert.deepEqual(await gateway.call("push", { user: "jack", event: "topic1", data: "yes" }), {
    delivered: 1,
  });
  assert.equal(await jack.next(), "yes");
  await jack.close();
}

// Without API keys, loopback requests are allowed, except from pages of another origin.
for (const [origin, status] of [
  [`http://${gateway.host}`, 200],
  ["http://a.example", 403],
  ["null", 403],
]) {
  const body = { event: "e", data: 1 };
  const response = await gateway.request("POST", "/api/v1/broadcast", body, { origin });
  assert.equal(response.status, status, origin);
  const health = await gateway.request("GET", "/health", undefined, { origin });
  assert.equal("sessions" in health.body, status === 200, origin);
}
await gateway.stop();
done();
