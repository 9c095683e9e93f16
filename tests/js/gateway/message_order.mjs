// A thousand sessions join and leave under hooks, whose answers come in any order: for each session
// everything is done in the order of its messages.

import assert from "node:assert/strict";
import { Backend, Gateway, backendTable, done } from "./fixture.mjs";

const SESSIONS = 1_000;
const STEPS = 6;
// A linear congruential generator, so that every run is the same.
let state = 12_345;
const random = (sides) => {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return (state >>> 16) % sides;
};
const delayed = [];
// Ends all waiting after so many turns of the event loop.
const releaseAfter = (turns) =>
  setImmediate(() => {
    if (turns > 0) releaseAfter(turns - 1);
    else delayed.splice(0).forEach((resolve) => resolve());
  });
const backend = await Backend.start({
  open: ({ request }) => ({ admit: true, user: new URLSearchParams(request.query).get("n") }),
  message: async ({ command, channel, data }) => {
    if (random(4) === 0) {
      // It waits until others have been answered, or until there are none.
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
    // Whoever has left is not told by the channel any more.
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

// Every session has a channel of its own and one that it shares with nine others.
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
// Each was asked about, and told of, once.
const users = (await backend.waitForRequests("close", SESSIONS)).map((request) => Number(request.session.user));
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
