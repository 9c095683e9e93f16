// The server API and its effects on clients of several dialects: calls, batches, pages, keys.
// tests/api checks invalid calls.

import assert from "node:assert/strict";
import { Gateway, done } from "./fixture.mjs";

const gateway = await Gateway.start(
  `
[api]
keys = ["old-key", "new-key"]
batch_calls_max = 3
idempotency_answer_bytes_max = 1_024
[[routes]]
path = "/forge"
dialect = "projectforge"
namespace = "town"
[[routes]]
path = "/wsrv"
dialect = "wsrv"
push_frame = "text"
namespace = "town"
tokens = { "of-jack" = "jack", "of-jill" = "jill" }
[[routes.channels]]
name = "declared"
[[routes]]
path = "/easyws"
dialect = "easyws"
[[routes]]
path = "/ws"
dialect = "wserver"
push_path = "/push"
push_secret = "x"
`,
  ["--shards", "4"],
);
const key = { authorization: "Bearer new-key" };
const post = (name, body, headers = {}) =>
  gateway.request("POST", `/api/v1/${name}`, body, { ...key, ...headers });
const get = (path, headers = key) => gateway.request("GET", `/api/v1/${path}`, undefined, headers);
const ok = async (name, body, headers) => {
  const { status, body: result } = await post(name, body, headers);
  assert.equal(status, 200, JSON.stringify(result));
  return result;
};
// Each key is accepted in both headers; other keys are rejected.
for (const headers of [
  { authorization: "Bearer old-key" },
  { authorization: "bearer new-key" },
  { "x-api-key": "old-key" },
]) {
  assert.equal((await get("sessions", headers)).status, 200);
}
for (const headers of [{}, { authorization: "Bearer no" }, { "x-api-key": "new-ke" }]) {
  const { status, headers: responseHeaders, body } = await get("sessions", headers);
  assert.deepEqual([status, body.error.code], [401, "unauthorized"]);
  assert.equal(responseHeaders.get("www-authenticate"), "Bearer");
}
const document = (await get("openapi.json", {})).body;
assert.equal(document.openapi, "3.1.0");

// The document's paths and methods exist, and no others.
for (const [path, methods] of Object.entries(document.paths)) {
  for (const method of ["GET", "POST", "DELETE"]) {
    const real = path.replace("{id}", crypto.randomUUID()).replace("{name}", "x");
    const body = method === "POST" ? {} : undefined;
    const { status, headers } = await gateway.request(method, real, body, key);
    const isDocumented = method.toLowerCase() in methods;
    assert.equal(status === 405, !isDocumented, `${method} ${path}: ${status}`);
    const first = Object.keys(methods)[0].toUpperCase();
    if (!isDocumented) assert.ok(headers.get("allow").includes(first));
  }
}
for (const path of ["", "no", "sessions/", "sessions/a/b", "channels/a", "publish/x"]) {
  assert.equal((await get(path)).status, 404, path);
}
assert.equal((await get(`channels/${"x".repeat(9_000)}/members`)).status, 400);

const unknown = "00000000-0000-4000-8000-000000000000";

// Each call and the messages that clients receive.
const jack = await gateway.connect("/wsrv?token=of-jack");
const forge = await gateway.connect("/forge?ch=room");
const { items } = (await get("sessions?route=/wsrv")).body;
assert.deepEqual([items.length, items[0].users, items[0].channels], [1, ["jack"], []]);
const id = items[0].id;
assert.ok(Math.abs(Date.parse(items[0].opened) - Date.now()) < 60_000);
assert.deepEqual((await get(`sessions/${id}`)).body.id, id);
assert.equal((await get(`sessions/${unknown}`)).status, 404);
assert.deepEqual(await ok("join", { session: id, channel: "room" }), { joined: true });
assert.deepEqual(await ok("join", { session: id, channel: "room" }), { joined: false });
const publish = { channel: "room", event: "news", data: { n: 1e2 } };
assert.deepEqual(await ok("publish", publish), { delivered: 2 });
assert.deepEqual(await ok("publish", { ...publish, except: [id] }), { delivered: 1 });
assert.deepEqual(await ok("publish", { ...publish, route: "/easyws" }), { delivered: 0 });
assert.deepEqual(await ok("push", { user: "jack", data: "to you" }), { delivered: 1 });
assert.deepEqual(await ok("push", { session: id, event: "e", bytes: "AAE=" }), { delivered: 1 });
assert.deepEqual(await ok("broadcast", { data: null }), { delivered: 2 });
const seen = [];
while (seen.length < 4) {
  const { cmd, data } = await jack.nextJson();
  seen.push([cmd, data]);
}
assert.deepEqual(seen, [
  ["news", { n: 100 }],
  ["message", "to you"],
  ["e", "AAE="],
  ["message", null],
]);
for (const cmd of ["news", "news", "message"]) assert.equal((await forge.nextJson()).cmd, cmd);
const channels = (await get("channels?route=/forge")).body;
assert.deepEqual(channels.items, [
  { name: "declared", sessions: 0, dropped: 0, routes: ["/forge", "/wsrv"] },
  { name: "room", sessions: 2, dropped: 0, routes: ["/forge", "/wsrv"] },
]);
const users = (await get("users")).body.items;
assert.deepEqual(users, [{ name: "jack", sessions: 1, routes: ["/forge", "/wsrv"] }]);
for (const query of ["limit=0", "limit=1001", "limit=x", "what=1", "after=x"]) {
  assert.equal((await get(`sessions?${query}`)).status, 400, query);
}
assert.deepEqual(await ok("leave", { session: id, channel: "room" }), { left: true });
assert.deepEqual(await ok("leave", { session: id, channel: "room" }), { left: false });

// The calls of a batch are done one after the other.
const batch = (calls) => post("batch", { calls });
const done3 = await batch([
  { call: "push", user: "jack", data: 1 },
  { call: "push", session: unknown, data: 1 },
  { call: "push", user: "jack", data: 2 },
]);
assert.equal(done3.status, 200);
const { results } = done3.body;
assert.deepEqual([results[0], results[2]], [{ delivered: 1 }, { delivered: 1 }]);
assert.equal(results[1].error.code, "no_session");
assert.deepEqual([(await jack.nextJson()).data, (await jack.nextJson()).data], [1, 2]);

// Requests with the same idempotency key are done once, also concurrently and on other shards.
const pushWithKey = (body, name, headers) =>
  post("push", body, { "idempotency-key": name, connection: "close", ...headers });
const first = await pushWithKey({ user: "jack", data: "once" }, "k1");
const second = await pushWithKey({ user: "jack", data: "once" }, "k1");
assert.deepEqual([first.status, second.status, second.body], [200, 200, first.body]);
assert.deepEqual(
  [first.headers.get("idempotent-replayed"), second.headers.get("idempotent-replayed")],
  [null, "true"],
);
assert.equal((await pushWithKey({ user: "jack", data: "other" }, "k1")).status, 422);
assert.equal((await pushWithKey({ user: "jack", data: "once" }, "")).status, 400);
assert.equal((await pushWithKey({ user: "jack", data: "once" }, "a b")).status, 400);
const race = await Promise.all(
  Array.from({ length: 40 }, () => pushWithKey({ user: "jack", data: "raced" }, "k2")),
);
for (const { status } of race) assert.ok(status === 200 || status === 409, String(status));
// The key of an invalid request is free again; idempotency keys are separate per API key.
assert.equal((await pushWithKey({ user: "" }, "k3")).status, 400);
assert.equal((await pushWithKey({ user: "jack", data: "tried" }, "k3")).status, 200);
const old = { authorization: "Bearer old-key" };
assert.equal((await pushWithKey({ user: "jack", data: "mine" }, "k3", old)).status, 200);
const received = [];
while (received.length < 4) received.push((await jack.nextJson()).data);
assert.deepEqual(received, ["once", "raced", "tried", "mine"]);

// Disconnects.
assert.deepEqual(await ok("disconnect", { user: "nobody" }), { disconnected: 0 });
assert.deepEqual(await ok("disconnect", { session: id, code: 4000, reason: "bye" }), {
  disconnected: 1,
});
assert.deepEqual(await jack.closed, { code: 4000, reason: "bye", wasClean: true });
const ws = await gateway.connect("/ws");
ws.send(JSON.stringify({ token: "jill", event: "e" }));
while ((await ok("push", { user: "jill", event: "e", data: "x" })).delivered === 0);
assert.deepEqual(await ok("disconnect", { user: "jill", event: "f" }), { disconnected: 0 });
assert.deepEqual(await ok("disconnect", { user: "jill", event: "e" }), { disconnected: 1 });
await ws.closed;

// Pages: every session once, in as many requests as the limit requires.
const crowd = [];
for (let count = 0; count < 1_250; count += 250) {
  crowd.push(
    ...(await Promise.all(Array.from({ length: 250 }, () => gateway.connect("/forge?ch=crowd")))),
  );
}
for (const [path, count] of [
  ["channels/crowd/members", 1_250],
  ["sessions", 1_251],
]) {
  const found = new Set();
  let [next, pages] = ["", 0];
  do {
    const { body } = await get(`${path}?limit=400${next && `&after=${next}`}`);
    body.items.forEach((item) => found.add(item.id));
    next = body.next;
    pages += 1;
  } while (next !== null);
  assert.deepEqual([found.size, pages], [count, 4], path);
}

// Health: the details require a key.
const health = (headers) => gateway.request("GET", "/health", undefined, headers);
assert.deepEqual(Object.keys((await health({})).body), ["status", "version", "shards"]);
const whole = (await health(key)).body;
assert.deepEqual(
  [whole.status, whole.shards, whole.sessions, whole.backends],
  ["ok", 4, 1_251, []],
);
assert.equal((await gateway.request("POST", "/health")).status, 405);
for (const client of crowd) client.socket.terminate();
await gateway.stop();
done();
