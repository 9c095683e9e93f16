// Slow, stopped and restarted backends, invalid and late responses, and what clients receive then.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const held = [];
let next = () => ({ reply: { data: "up" } });
const responses = {
  open: ({ user }) => ({ admit: true, user: user ?? "jack" }),
  message: (hook, response) => next(hook, response),
};
let backend = await Backend.start(responses);
const port = backend.port;
const limits = [
  "timeout_ms = 1_000",
  "requests_in_flight_max = 2",
  "requests_waiting_max = 1",
  "retry_delay_ms = 1",
  "answer_bytes_max = 1_024",
].join("\n");
const route = (dialect, path, more = "") => `
[[routes]]
path = "${path}"
dialect = "${dialect}"
hooks = { backend = "app", on = ["open", "message"] ${more} }
`;
const gateway = await Gateway.start(`
${backendTable(backend, limits)}
${route("wsrv", "/wsrv")}
push_frame = "text"
${route("wsrv", "/strict", ', on_failure = "close"')}
${route("easyws", "/easyws")}
${route("projectforge", "/projectforge")}
${route("edk", "/edk")}
trust_user_header = true
`);
const cookie = { headers: { cookie: "auth=x" } };
const user = (name) => ({ headers: { "x-user-id": name }, protocols: ["t"] });
const wsrv = await gateway.connect("/wsrv");
const request = (cmd, seqno = "1") => JSON.stringify({ cmd, seqno });
const call = async (cmd) => {
  wsrv.send(request(cmd));
  const { status, msg, data } = await wsrv.nextJson();
  return status === 0 ? data : [status, msg];
};
const health = async () => {
  const { status, body } = await gateway.request("GET", "/health");
  assert.equal(status, 200);
  return [body.status, body.backends[0].name, body.backends[0].state];
};
const unavailable = [999_999_999, "backend unavailable"];
assert.equal(await call("a"), "up");
assert.deepEqual(await health(), ["ok", "app", "up"]);

// An invalid response fails only its message; a message hook is never retried.
for (const invalid of [
  "{",
  "[]",
  '{"reply":{"data":1},"failure":{"status":1,"message":"x"}}',
  '{"reply":{"data":1,"bytes":"AA=="}}',
  '{"reply":{"bytes":"?"}}',
  '{"close":{"code":1005}}',
  '{"join":[""]}',
  '{"push":[{"data":1}]}',
  '{"push":[{"channel":"a","user":"b","data":1}]}',
  '{"what":1}',
  `{"reply":{"data":"${"x".repeat(2_000)}"}}`,
  404,
  500,
  302,
]) {
  next = () => invalid;
  const before = backend.requestsOf("message").length;
  assert.deepEqual(await call("a"), unavailable, String(invalid));
  assert.equal(backend.requestsOf("message").length, before + 1);
  assert.deepEqual(await health(), ["degraded", "app", "down"]);
}
next = (_, response) => void response.socket.destroy();
assert.deepEqual(await call("a"), unavailable);
next = () => ({ reply: { data: "up" } });
assert.equal(await call("a"), "up");
assert.deepEqual(await health(), ["ok", "app", "up"]);

// A slow backend delays only its own callers, and its concurrent requests are limited.
next = (_, response) => void held.push(response);
const earlier = backend.requestsOf("message").length;
for (const seqno of ["a", "b", "c", "d"]) wsrv.send(request("slow", seqno));
// Two are in flight, one waits, and the fourth exceeds requests_waiting_max.
const tooMany = await wsrv.nextJson();
assert.deepEqual([tooMany.status, tooMany.msg], unavailable);
const { body } = await gateway.request("GET", "/health");
assert.equal(body.backends[0].in_flight, 2);
assert.equal(body.backends[0].waiting, 1);
await backend.waitForRequests("message", earlier + 2);
assert.equal(backend.requestsOf("message").length, earlier + 2);
const release = (response) => response.writeHead(200).end('{"reply":{"data":"late"}}');
release(held.shift());
await backend.waitForRequests("message", earlier + 3);
for (const response of held.splice(0)) release(response);
for (let count = 0; count < 3; count += 1) assert.equal((await wsrv.nextJson()).data, "late");

// A response after the timeout is dropped.
next = (_, response) => void held.push(response);
assert.deepEqual(await call("late"), unavailable);
release(held.shift());
next = () => ({ reply: { data: "next" } });
assert.equal(await call("a"), "next");

// Stopped: each dialect reports the failure as it can.
const [strict, easy, forge, edk] = [
  await gateway.connect("/strict"),
  await gateway.connect("/easyws", cookie),
  await gateway.connect("/projectforge?ch=x"),
  await gateway.connect("/edk", user("ann")),
];
await backend.stop();
assert.deepEqual(await call("a"), unavailable);
assert.deepEqual(await health(), ["degraded", "app", "down"]);
const unable = [503, "the backend does not answer, try again\n"];
assert.deepEqual(await gateway.rejection("/wsrv"), unable);
assert.deepEqual(await gateway.rejection("/easyws", cookie), unable);
assert.deepEqual(await gateway.rejection("/projectforge?ch=x"), unable);
assert.deepEqual(await gateway.rejection("/edk", user("bob")), unable);
strict.send(request("a"));
assert.deepEqual(await strict.closed, {
  code: 1013,
  reason: "backend unavailable",
  wasClean: true,
});
forge.send(JSON.stringify({ cmd: "a" }));
assert.deepEqual((await forge.closed).code, 1011);
easy.send("a: x");
edk.send(Buffer.from("0a00", "hex"));
// Wait until the requests of `easy` and `edk` have failed for good, before the backend is back.
const failed = async () => (await gateway.request("GET", "/health")).body.backends[0].failed;
const before = 2 + (await failed());
while ((await failed()) < before);

// Started again on the same port: the remaining sessions are served.
backend = await Backend.start(responses, port);
next = () => ({ reply: { data: "again" } });
assert.equal(await call("a"), "again");
easy.send("b: x");
assert.equal(await easy.next(), "b: again");
edk.send(Buffer.from("0a00", "hex"));
assert.equal(String(await edk.next()), "again");
await gateway.connect("/projectforge?ch=x");
assert.deepEqual(await health(), ["ok", "app", "up"]);
await gateway.stop();
await backend.stop();
done();
