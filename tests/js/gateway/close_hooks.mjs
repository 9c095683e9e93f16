// The close hook of a session is sent after the responses of its other hooks.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const held = [];
const hold = (_, response) => void held.push(response);
const backend = await Backend.start({ join: hold, authenticate: hold, message: () => ({}) });
const gateway = await Gateway.start(
  `
${backendTable(backend)}
[[routes]]
path = "/easyws"
dialect = "easyws"
hooks = { backend = "app", on = ["close"] }
[[routes.channels]]
name = "checked"
join = "hook"
[[routes]]
path = "/ws"
dialect = "wserver"
hooks = { backend = "app", on = ["authenticate", "close"] }
[[routes]]
path = "/wsrv"
dialect = "wsrv"
push_frame = "text"
hooks = { backend = "app", on = ["message"] }
`,
  ["--shards", "1"],
);
const other = await gateway.connect("/wsrv");
const cookie = { headers: { cookie: "auth=t" } };
const cases = [
  ["join", await gateway.connect("/easyws", cookie), "listen: checked", '{"allow":true}'],
  ["authenticate", await gateway.connect("/ws"), '{"token":"t","event":"e"}', '{"user":"jill"}'],
];
for (const [index, [hook, client, message, response]] of cases.entries()) {
  client.send(message);
  await backend.waitForRequests(hook, 1);
  const route = index === 0 ? "/easyws" : "/ws";
  const { body } = await gateway.request("GET", `/api/v1/sessions?route=${route}`);
  await gateway.call("disconnect", { session: body.items[0].id, code: 4001 });
  assert.equal((await client.closed).code, 4001);
  // A close hook of this end would have been sent before the response to this later message.
  other.send(JSON.stringify({ cmd: "x", seqno: String(index) }));
  assert.equal((await other.nextJson()).seqno, String(index));
  assert.equal(backend.requestsOf("close").length, index, `${hook} is pending`);
  held.shift().writeHead(200).end(response);
  const closed = await backend.waitForRequests("close", index + 1);
  assert.equal(closed[index].route, route);
}
other.socket.terminate();
await gateway.stop();
await backend.stop();
done();
