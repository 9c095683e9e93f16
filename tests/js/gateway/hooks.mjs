// Hooks in every dialect: open, authenticate, message, close, first messages, values, rejections.

import assert from "node:assert/strict";
import protobuf from "protobufjs";
import { readFileSync } from "node:fs";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const backend = await Backend.start({
  open: ({ request, token, route }) => {
    const mode = new URLSearchParams(request.query ?? "").get("mode");
    if (mode === "no") return { admit: false };
    if (mode === "teapot") return { admit: false, status: 418, body: "short and stout" };
    return {
      admit: true,
      user: token ? `user of ${token}` : "jack",
      profile: { name: "Jack", fields: { route } },
      channels: ["room"],
      values: { visits: 1 },
      message: mode === "hello" ? { event: "welcome", data: { to: "you" } } : undefined,
    };
  },
  authenticate: ({ token }) => ({ user: token === "good" ? "jill" : null }),
  message: ({ command, session, data, bytes }) => {
    switch (command) {
      case "sum":
        return { reply: { data: data.reduce((sum, each) => sum + each, 0) } };
      case "who":
        return {
          reply: {
            data: {
              user: session.user,
              name: session.name,
              fields: session.fields,
              values: session.values,
            },
          },
        };
      case "fail":
        return { failure: { status: 7, message: "no such thing", data: [1] } };
      case "count":
        return {
          values: { visits: session.values.visits + 1 },
          reply: { data: session.values.visits },
        };
      case "all":
        return {
          join: ["hall"],
          leave: ["room"],
          push: [
            { channel: "hall", event: "joined", data: "hall" },
            { user: session.user, event: "note", data: 1 },
            { session: session.id, event: "note", data: 2 },
            { everyone: true, event: "note", data: 3, except_sender: true },
          ],
          reply: { data: "done" },
        };
      case "bye":
        return { reply: { data: "bye" }, close: { code: 4000, reason: "as you wish" } };
      case "text":
        return { reply: { data: `${data}!` } };
      case "bad":
        return { join: ["nowhere"], reply: { data: 1 }, unknown: true };
      case "":
        return { reply: { bytes } };
      default:
        return {};
    }
  },
});
const route = (dialect, more = "") => `
[[routes]]
path = "/${dialect}"
dialect = "${dialect}"
hooks = { backend = "app", on = ["open", "message", "close"] }
${more}`;
const hello = `push_frame = "text"
[routes.commands]
hello = { action = "reply", data = "world" }`;
const gateway = await Gateway.start(`
${backendTable(backend, 'secret = "between-us"')}
${route("wsrv", hello)}
${route("easyws")}
${route("projectforge")}
${route("edk", 'schema = "builtin"\ntrust_user_header = false')}
[[routes]]
path = "/opaque"
dialect = "edk"
hooks = { backend = "app", on = ["open", "message"] }
[[routes]]
path = "/ws"
dialect = "wserver"
push_path = "/push"
hooks = { backend = "app", on = ["authenticate", "close"] }
`);

// Rejections with the backend's status and body, or with the default.
assert.deepEqual(await gateway.rejection("/wsrv?mode=teapot"), [418, "short and stout"]);
assert.equal((await gateway.rejection("/wsrv?mode=no"))[0], 403);

// wsrv
const client = await gateway.connect("/wsrv?mode=hello&x=%20", { headers: { "x-extra": "1" } });
const [opened] = backend.requestsOf("open").slice(-1);
assert.equal(opened.headers.authorization, "Bearer between-us");
assert.deepEqual([opened.route, opened.dialect, opened.request.path], ["/wsrv", "wsrv", "/wsrv"]);
assert.equal(opened.request.query, "mode=hello&x=%20");
assert.deepEqual(opened.request.headers["x-extra"], ["1"]);
assert.equal(opened.request.headers["sec-websocket-key"], undefined);
const welcome = await client.nextJson();
assert.deepEqual([welcome.cmd, welcome.data], ["welcome", { to: "you" }]);
const call = async (cmd, data) => {
  client.send(JSON.stringify({ cmd, seqno: "q", data }));
  const response = await client.nextJson();
  return response.status === 0 ? response.data : [response.status, response.msg, response.data];
};
assert.equal(await call("sum", [1, 2, 3]), 6);
assert.equal(await call("hello"), "world");
assert.deepEqual(await call("fail"), [7, "no such thing", [1]]);
assert.equal(await call("count"), 1);
assert.equal(await call("count"), 2);
assert.deepEqual(await call("who"), {
  user: "jack",
  name: "Jack",
  fields: { route: "/wsrv" },
  values: { visits: 3 },
});
// The actions of a response are done in order, and pushes are sent before the reply.
client.send(JSON.stringify({ cmd: "all", seqno: "q" }));
const seen = [];
while (seen.length < 4) seen.push((await client.nextJson()).data);
assert.deepEqual(seen, ["hall", 1, 2, "done"]);
// No action of a response with an invalid part is done.
assert.deepEqual(await call("bad"), [999_999_999, "backend unavailable", {}]);
const { body } = await gateway.request(
  "GET",
  `/api/v1/sessions/${backend.requestsOf("message")[0].session.id}`,
);
assert.deepEqual([body.users, body.channels], [["jack"], ["hall"]]);
client.send(JSON.stringify({ cmd: "bye", seqno: "q" }));
assert.equal((await client.nextJson()).data, "bye");
assert.deepEqual(await client.closed, { code: 4000, reason: "as you wish", wasClean: true });
const [closed] = await backend.waitForRequests("close", 1);
assert.equal(closed.session.id, backend.requestsOf("message")[0].session.id);
assert.deepEqual(closed.session.values, { visits: 3 });

// easyws
const easy = await gateway.connect("/easyws", { headers: { cookie: "auth=t" } });
easy.send("text: hi");
assert.equal(await easy.next(), "text: hi!");
easy.send("nothing: x");
easy.send("text: again");
assert.equal(await easy.next(), "text: again!");
assert.equal(backend.requestsOf("message").at(-1).session.user, "user of t");
await easy.close();

// projectforge
const forge = await gateway.connect("/projectforge?ch=x");
forge.send(JSON.stringify({ channel: "x", cmd: "sum", param: [4, 5] }));
assert.deepEqual(await forge.nextJson(), { channel: "x", cmd: "sum", param: 9 });
forge.send(JSON.stringify({ cmd: "fail" }));
assert.equal((await forge.closed).code, 1011);

// edk: with the built-in schema and without a schema
const edk = await gateway.connect("/edk", { protocols: ["tok"] });
assert.equal(edk.socket.protocol, "tok");
const schema = protobuf.parse(readFileSync(new URL("../ws.proto", import.meta.url), "utf8"));
const Message = schema.root.lookupType("ws.Message");
const encode = (fields) => Buffer.from(Message.encode(Message.create(fields)).finish());
edk.send(encode({ type: "", payload: Buffer.from([0, 255]), id: "7" }));
const response = Message.decode(await edk.next());
assert.deepEqual([Buffer.from(response.payload), response.id], [Buffer.from([0, 255]), "7"]);
assert.equal(backend.requestsOf("message").at(-1).session.user, "user of tok");
await edk.close();
const opaque = await gateway.connect("/opaque", { protocols: ["tok2"] });
const bytes = Buffer.from("0a0463686174", "hex");
opaque.send(bytes);
assert.deepEqual(await opaque.next(), bytes);
await opaque.close();

// wserver: the token of a registration
const ws = await gateway.connect("/ws");
ws.send(JSON.stringify({ token: "bad", event: "e" }));
ws.send(JSON.stringify({ token: "good", event: "e" }));
let total = "";
while (total !== "message sent to 1 clients") {
  const push = { userId: "jill", event: "e", message: "hi" };
  total = (await gateway.request("POST", "/push", push)).body;
}
assert.equal(await ws.next(), "hi");
assert.equal(backend.requestsOf("authenticate").length, 2);
await ws.close();
await backend.waitForRequests("close", 5);

// Channels beyond `channels_per_session_max` are not joined at the start, which is logged.
const limited = await Gateway.start(
  `
limits.channels_per_session_max = 2
${backendTable(backend)}
${route("wsrv", 'push_frame = "text"\njoin_on_open = ["one", "two"]')}`,
);
const full = await limited.connect("/wsrv?mode=hello");
await full.next();
const { items } = (await limited.request("GET", "/api/v1/sessions")).body;
assert.deepEqual(items[0].channels, ["room", "one"]);
full.socket.terminate();
await limited.stop();
assert.match(limited.log, /channels_per_session_max path="\/wsrv" channel="two"/);

// Every hook request has its own id.
const ids = backend.requests.map((request) => request.id);
assert.equal(new Set(ids).size, ids.length);
await gateway.stop();
await backend.stop();
done();
