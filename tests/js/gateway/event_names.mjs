// The event of a publication must be valid in every dialect of its namespace: easyws has no `:`.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const push = (to) => ({ join: ["hall"], push: [{ ...to, event: "a:b", data: "x" }] });
const backend = await Backend.start({ message: ({ data }) => push(data) });
const gateway = await Gateway.start(`
${backendTable(backend)}
[[routes]]
path = "/wsrv"
dialect = "wsrv"
push_frame = "text"
namespace = "one"
hooks = { backend = "app", on = ["message"] }
[routes.commands]
publish = "publish"

[[routes]]
path = "/easyws"
dialect = "easyws"
namespace = "one"
join_on_open = ["room"]
`);
const easy = await gateway.connect("/easyws", { headers: { cookie: "auth=x" } });
const client = await gateway.connect("/wsrv");
const colon = "event command may not contain a colon";
const publish = { channel: "room", event: "a:b", data: "x" };
for (const [call, body] of [
  ["publish", publish],
  ["publish", { ...publish, route: "/wsrv" }],
  ["broadcast", { event: "a:b", data: "x" }],
  ["push", { user: "ann", event: "a:b", data: "x" }],
]) {
  const { status, body: problem } = await gateway.request("POST", `/api/v1/${call}`, body);
  assert.deepEqual([status, problem.error], [
    400,
    { code: "bad_request", message: colon, field: "event" },
  ]);
}
for (const to of [{ channel: "room" }, { everyone: true }, { user: "ann" }]) {
  client.send(JSON.stringify({ cmd: "push", seqno: "q", data: to }));
  const { seqno, msg } = await client.nextJson();
  assert.deepEqual([seqno, msg], ["q", "backend unavailable"]);
}
// No part of the calls was done.
assert.deepEqual((await gateway.request("GET", "/api/v1/channels?prefix=hall")).body.items, []);
assert.equal((await gateway.call("publish", { ...publish, event: "ab" })).delivered, 1);
assert.equal(await easy.next(), "ab: x");
for (const socket of [easy, client]) socket.socket.terminate();
await gateway.stop();
await backend.stop();
done();
