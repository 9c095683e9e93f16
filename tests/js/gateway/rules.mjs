// Who may join and publish, by each kind of rule, and the channels that a session is put on.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./world.mjs";

const backend = await Backend.start({
  join: (asked) => ({ allow: asked.session.user === "ann" && asked.channel === "asked-1" }),
  publish: (asked) => ({ allow: asked.session.user === "ann" }),
  command: (asked) => ({ allow: asked.command === "secret" && asked.session.user === "ann" }),
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
name = "asked-*"
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
name = "asked-3"
join = "hook"
`);

const names = async (channel) => {
  const path = `/api/v1/channels/${encodeURIComponent(channel)}/members`;
  const { body } = await gateway.request("GET", path);
  return body.items.map((item) => item.users[0] ?? "nobody").sort();
};
const as = (token) => gateway.connect(`/wsrv${token ? `?token=${token}` : ""}`);
const [ann, bob, eve] = [await as("of-ann"), await as("of-bob"), await as("")];
const ask = async (client, cmd, data) => {
  client.send(JSON.stringify({ cmd, seqno: "q", data }));
  for (;;) {
    const answer = await client.nextJson();
    if (answer.seqno === "q") return answer.status === 0 ? answer.data : answer.msg;
  }
};
const ok = {};
const no = "not authorized";

// Who is where from the start, whatever the rule of the channel.
assert.deepEqual(await names("global"), ["ann", "bob", "nobody"]);
assert.deepEqual(await names("user:ann"), ["ann"]);

const cases = [
  // channel, then what ann, bob and a stranger are told
  ["open-1", ok, ok, ok],
  ["undeclared", ok, ok, ok],
  ["closed", no, no, no],
  ["members", ok, ok, no],
  ["user:bob", no, ok, no],
  ["tokens", ok, no, no],
  ["asked-1", ok, no, no],
  ["asked-2", no, no, no],
];
for (const [channel, ...expected] of cases) {
  for (const [index, client] of [ann, bob, eve].entries()) {
    assert.deepEqual(await ask(client, "join", channel), expected[index], `${channel} ${index}`);
  }
}
assert.equal(backend.of("join").length, 6);
const { session } = backend.of("join")[0];
assert.deepEqual([session.user, session.values], ["ann", {}]);

// Publishing: one must be on the channel, and its rule must let one.
const say = (client, channel) => ask(client, "publish", { channel, data: "x" });
assert.deepEqual(await say(ann, "open-1"), ok);
assert.equal(await say(ann, "closed"), "not on the channel");
assert.equal(await say(ann, "members"), no);
assert.deepEqual(await say(ann, "user:ann"), ok);
assert.equal(await say(bob, "user:ann"), "not on the channel");
assert.equal(await say(ann, "tokens"), no);
assert.deepEqual(await say(ann, "asked-1"), ok);
assert.deepEqual(await say(bob, "global"), ok);
assert.equal(await say(eve, "global"), no);
assert.equal(await say(ann, ""), "no channel is named");
assert.equal(await ask(ann, "publish", ["open-1", "x"]), "no channel is named");

// Commands: their own rules, constant answers, fixed channels, everyone but the sender.
assert.deepEqual(await ask(ann, "known"), { ok: true });
assert.equal(await ask(eve, "known"), no);
assert.equal(await ask(ann, "never"), no);
assert.equal(await ask(ann, "secret"), "AAE=");
assert.equal(await ask(bob, "secret"), no);
assert.deepEqual(await ask(bob, "key", [1]), [1]);
assert.equal(await ask(ann, "key", [1]), no);
assert.equal(await ask(eve, "mine", 1), no);
for (const client of [ann, bob]) assert.deepEqual(await ask(client, "join", "lobby"), ok);
assert.deepEqual(await ask(ann, "lobby", { n: 7 }), ok);
for (;;) {
  const { cmd, data } = await bob.nextJson();
  if (cmd === "said") {
    assert.deepEqual(data, { n: 7 });
    break;
  }
}

// The rules hold in whatever language one asks.
const cookie = (token) => ({ headers: { cookie: `auth=${token}` } });
const easy = await gateway.connect("/easyws", cookie("of-bob"));
easy.send("listen: user:ann");
assert.equal(await easy.next(), "websocket: not authorized");
easy.send("listen: user:bob");
easy.send("listen: user:bob");
assert.equal(await easy.next(), "websocket: already listening");
easy.send("listen: nowhere");
assert.equal(await easy.next(), "websocket: channel does not exist");
assert.deepEqual(await gateway.refused("/easyws", cookie("wrong")), [
  403,
  "Authentication failed\n",
]);
const [status] = await gateway.refused("/projectforge?ch=members");
assert.equal(status, 403);
const forge = await gateway.connect("/projectforge?ch=open-2");
assert.deepEqual(await names("open-2"), ["nobody"]);

// A wrong token is refused, none lets one in as nobody.
assert.equal((await gateway.refused("/wsrv?token=wrong"))[0], 401);
const bearer = await gateway.connect("/wsrv", { headers: { authorization: "bearer of-ann" } });
assert.deepEqual(await ask(bearer, "known"), { ok: true });

// A rule looks at the token that is shown also where no token names a user.
const [shown, hidden] = [await gateway.connect("/shown?t=of-ann"), await gateway.connect("/shown")];
assert.deepEqual(await ask(shown, "join", "tokens-2"), ok);
assert.equal(await ask(hidden, "join", "tokens-2"), no);
assert.equal(await ask(shown, "key", 1), no);
assert.equal(await ask(shown, "join", "asked-3"), no);
assert.equal(backend.of("join").at(-1).token, "of-ann");
const guest = await gateway.connect("/projectforge?ch=tokens&token=of-ann");
assert.equal((await gateway.refused("/projectforge?ch=tokens&token=of-bob"))[0], 403);

// What was declared by its name is there before anyone, what fits a pattern is not.
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
