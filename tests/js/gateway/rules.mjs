// Access rules of every kind for joins, publications and commands, and channels joined on open.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const backend = await Backend.start({
  join: (request) => ({ allow: request.session.user === "ann" && request.channel === "hook-1" }),
  publish: (request) => ({ allow: request.session.user === "ann" }),
  command: (request) => ({ allow: request.command === "secret" && request.session.user === "ann" }),
});
const gateway = await Gateway.start(`
${backendTable(backend)}
[[routes]]
path = "/wsrv"
dialect = "wsrv"
push_frame = "text"
namespace = "one"
tokens = { "of-ann" = "ann", "of-bob" = "bob" }
anonymous = true
join_on_open = ["global", "user:{user}"]
hooks = { backend = "app", on = [] }
[routes.commands]
join = "join"
leave = "leave"
publish = "publish"
lobby = { action = "publish", channel = "lobby", event = "said", to = "others" }
mine = { action = "publish", channel = "user:{user}", event = "note" }
known = { action = "reply", data = { ok = true }, allow = "identified" }
never = { action = "reply", data = 1, allow = "nobody" }
secret = { action = "reply", bytes = "AAE=", allow = "hook" }
key = { action = "echo", allow = { tokens = ["of-bob"] } }
[[routes.channels]]
name = "open-*"
[[routes.channels]]
name = "closed"
join = "nobody"
[[routes.channels]]
name = "members"
join = "identified"
publish = "nobody"
[[routes.channels]]
name = "user:{user}"
join = "owner"
publish = "owner"
[[routes.channels]]
name = "tokens"
join = { tokens = ["of-ann", "x"] }
publish = { tokens = ["of-bob"] }
[[routes.channels]]
name = "hook-*"
join = "hook"
publish = "hook"
[[routes.channels]]
name = "global"
publish = "identified"
[[routes.channels]]
name = "lobby"

[[routes]]
path = "/easyws"
dialect = "easyws"
namespace = "one"
tokens = { "of-ann" = "ann", "of-bob" = "bob" }

[[routes]]
path = "/projectforge"
dialect = "projectforge"
namespace = "one"

[[routes]]
path = "/shown"
dialect = "wsrv"
push_frame = "text"
token_from = ["query:t"]
hooks = { backend = "app", on = [] }
[routes.commands]
join = "join"
key = { action = "echo", allow = { tokens = ["of-bob"] } }
[[routes.channels]]
name = "tokens-2"
join = { tokens = ["of-ann"] }
[[routes.channels]]
name = "hook-3"
join = "hook"
`);

const members = async (channel) => {
  const path = `/api/v1/channels/${encodeURIComponent(channel)}/members`;
  const { body } = await gateway.request("GET", path);
  return body.items.map((item) => item.users[0] ?? "nobody").sort();
};
const connectAs = (token) => gateway.connect(`/wsrv${token ? `?token=${token}` : ""}`);
const [ann, bob, eve] = [await connectAs("of-ann"), await connectAs("of-bob"), await connectAs("")];
const call = async (client, cmd, data) => {
  client.send(JSON.stringify({ cmd, seqno: "q", data }));
  for (;;) {
    const response = await client.nextJson();
    if (response.seqno === "q") return response.status === 0 ? response.data : response.msg;
  }
};
const ok = {};
const denied = "not authorized";

// `join_on_open` ignores the channel's rule.
assert.deepEqual(await members("global"), ["ann", "bob", "nobody"]);
assert.deepEqual(await members("user:ann"), ["ann"]);

const cases = [
  // channel, then the results for ann, bob and a session without a user
  ["open-1", ok, ok, ok],
  ["undeclared", ok, ok, ok],
  ["closed", denied, denied, denied],
  ["members", ok, ok, denied],
  ["user:bob", denied, ok, denied],
  ["tokens", ok, denied, denied],
  ["hook-1", ok, denied, denied],
  ["hook-2", denied, denied, denied],
];
for (const [channel, ...expected] of cases) {
  for (const [index, client] of [ann, bob, eve].entries()) {
    assert.deepEqual(await call(client, "join", channel), expected[index], `${channel} ${index}`);
  }
}
assert.equal(backend.requestsOf("join").length, 6);
const { session } = backend.requestsOf("join")[0];
assert.deepEqual([session.user, session.values], ["ann", {}]);

// Publications: the session must be on the channel and its rule must allow it.
const publish = (client, channel) => call(client, "publish", { channel, data: "x" });
assert.deepEqual(await publish(ann, "open-1"), ok);
assert.equal(await publish(ann, "closed"), "not on the channel");
assert.equal(await publish(ann, "members"), denied);
assert.deepEqual(await publish(ann, "user:ann"), ok);
assert.equal(await publish(bob, "user:ann"), "not on the channel");
assert.equal(await publish(ann, "tokens"), denied);
assert.deepEqual(await publish(ann, "hook-1"), ok);
assert.deepEqual(await publish(bob, "global"), ok);
assert.equal(await publish(eve, "global"), denied);
assert.equal(await publish(ann, ""), "no channel is named");
assert.equal(await call(ann, "publish", ["open-1", "x"]), "no channel is named");

// Commands: their own rules, constant replies, fixed channels, publications to the others.
assert.deepEqual(await call(ann, "known"), { ok: true });
assert.equal(await call(eve, "known"), denied);
assert.equal(await call(ann, "never"), denied);
assert.equal(await call(ann, "secret"), "AAE=");
assert.equal(await call(bob, "secret"), denied);
assert.deepEqual(await call(bob, "key", [1]), [1]);
assert.equal(await call(ann, "key", [1]), denied);
assert.equal(await call(eve, "mine", 1), denied);
for (const client of [ann, bob]) assert.deepEqual(await call(client, "join", "lobby"), ok);
assert.deepEqual(await call(ann, "lobby", { n: 7 }), ok);
for (;;) {
  const { cmd, data } = await bob.nextJson();
  if (cmd === "said") {
    assert.deepEqual(data, { n: 7 });
    break;
  }
}

// The rules hold in every dialect.
const cookie = (token) => ({ headers: { cookie: `auth=${token}` } });
const easy = await gateway.connect("/easyws", cookie("of-bob"));
easy.send("listen: user:ann");
assert.equal(await easy.next(), "websocket: not authorized");
easy.send("listen: user:bob");
easy.send("listen: user:bob");
assert.equal(await easy.next(), "websocket: already listening");
easy.send("listen: nowhere");
assert.equal(await easy.next(), "websocket: channel does not exist");
assert.deepEqual(await gateway.rejection("/easyws", cookie("wrong")), [
  403,
  "Authentication failed\n",
]);
const [status] = await gateway.rejection("/projectforge?ch=members");
assert.equal(status, 403);
const forge = await gateway.connect("/projectforge?ch=open-2");
assert.deepEqual(await members("open-2"), ["nobody"]);

// A wrong token is rejected; without a token the session has no user.
assert.equal((await gateway.rejection("/wsrv?token=wrong"))[0], 401);
const bearer = await gateway.connect("/wsrv", { headers: { authorization: "bearer of-ann" } });
assert.deepEqual(await call(bearer, "known"), { ok: true });

// Rules also see the token on routes where tokens name no user.
const [shown, hidden] = [await gateway.connect("/shown?t=of-ann"), await gateway.connect("/shown")];
assert.deepEqual(await call(shown, "join", "tokens-2"), ok);
assert.equal(await call(hidden, "join", "tokens-2"), denied);
assert.equal(await call(shown, "key", 1), denied);
assert.equal(await call(shown, "join", "hook-3"), denied);
assert.equal(backend.requestsOf("join").at(-1).token, "of-ann");
const guest = await gateway.connect("/projectforge?ch=tokens&token=of-ann");
assert.equal((await gateway.rejection("/projectforge?ch=tokens&token=of-bob"))[0], 403);

// Channels declared by name are listed without members, patterns are not listed.
const { body } = await gateway.request("GET", "/api/v1/channels?route=/wsrv");
const listed = Object.fromEntries(body.items.map((item) => [item.name, item.sessions]));
assert.equal(listed.closed, 0);
assert.equal(listed["open-*"], undefined);
assert.equal(listed["open-2"], 1);
const all = [ann, bob, eve, easy, forge, bearer, shown, hidden, guest];
for (const client of all) client.socket.terminate();
await gateway.stop();
await backend.stop();
done();
