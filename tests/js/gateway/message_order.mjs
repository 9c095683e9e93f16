// A thousand sessions join and leave with hooks that respond in random order: the messages of each
// session are still handled in order.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const SESSIONS = 1_000;
const STEPS = 6;
// A linear congruential generator makes runs reproducible.
let state = 12_345;
const random = (sides) => {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return (state >>> 16) % sides;
};
const delayed = [];
// Releases all delayed responses after `turns` turns of the event loop.
const releaseAfter = (turns) =>
  setImmediate(() => {
    if (turns > 0) releaseAfter(turns - 1);
    else delayed.splice(0).forEach((resolve) => resolve());
  });
const backend = await Backend.start({
  open: ({ request }) => ({ admit: true, user: new URLSearchParams(request.query).get("n") }),
  message: async ({ command, channel, data }) => {
    if (random(4) === 0) {
      // Delay the response until others have been sent or three turns have passed.
      releaseAfter(3);
      await new Promise((resolve) => delayed.push(resolve));
    } else if (delayed.length > 8) {
      delayed.splice(random(delayed.length), 1)[0]();
    }
    const step = data?.step;
    if (command === "join")
      return {
        join: [channel],
        push: [{ channel, event: "joined", data: { step } }],
        reply: { data: step },
      };
    // This push is not delivered to the session itself, which has left by then.
    return {
      push: [{ channel, event: "left", data: { step } }],
      leave: [channel],
      reply: { data: step },
    };
  },
});
const limits = `requests_in_flight_max = 256
requests_waiting_max = 10_000
timeout_ms = 60_000`;
const gateway = await Gateway.start(
  `
${backendTable(backend, limits)}
[[routes]]
path = "/forge"
dialect = "projectforge"
hooks = { backend = "app", on = ["open", "message", "close"] }
`,
  ["--shards", "4"],
);

// Runs one session: joins and leaves its own channel and checks replies and pushes.
async function runSession(n) {
  const client = await gateway.connect(`/forge?ch=own-${n}&n=${n}`);
  for (let step = 0; step < STEPS; step += 1) {
    const cmd = step % 2 === 0 ? "join" : "leave";
    client.send(JSON.stringify({ channel: `room-${n}`, cmd, param: { step } }));
  }
  let [replies, pushes] = [0, 0];
  while (replies < STEPS) {
    const message = await client.nextJson();
    if (message.cmd === "join" || message.cmd === "leave") {
      assert.equal(message.param, replies, `replies of ${n}`);
      const joins = Math.floor(replies / 2) + 1;
      assert.equal(pushes, joins, `a push comes before its reply, of ${n}`);
      replies += 1;
    } else {
      assert.equal(message.channel, `room-${n}`);
      assert.equal(message.cmd, "joined");
      assert.deepEqual(message.param, { step: 2 * pushes }, `pushes of ${n}`);
      pushes += 1;
    }
  }
  await client.close();
}
for (let first = 0; first < SESSIONS; first += 250) {
  const sessions = Array.from({ length: 250 }, (_, index) => runSession(first + index));
  await Promise.all(sessions);
}
// Each session had one open and one close hook, and each message one hook.
const closes = await backend.waitForRequests("close", SESSIONS);
const users = closes.map((request) => Number(request.session.user));
assert.deepEqual(
  users.sort((a, b) => a - b),
  Array.from({ length: SESSIONS }, (_, n) => n),
);
assert.equal(backend.requestsOf("open").length, SESSIONS);
assert.equal(backend.requestsOf("message").length, SESSIONS * STEPS);
for (const { body } of [await gateway.request("GET", "/api/v1/channels")])
  assert.deepEqual(body.items, []);
await gateway.stop();
await backend.stop();
done();
