// The memory of a million channels that are joined and left is reclaimed, names included.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Gateway, done } from "./fixture.mjs";

const NAMES = 1_000_000;
const NAMES_PER_BATCH = 500;
const gateway = await Gateway.start(
  `
[[routes]]
path = "/wsrv"
dialect = "wsrv"
idle_timeout_ms = 600_000
ping_interval_ms = 600_000
[[routes]]
path = "/easyws"
dialect = "easyws"
[[routes.channels]]
name = "room*"
`,
  ["--shards", "1"],
);
const client = await gateway.connect("/wsrv");
const [{ id }] = (await gateway.request("GET", "/api/v1/sessions")).body.items;

// Names are about 40 bytes long, so leaked names would show in the memory.
const joinAndLeave = async (names) => {
  for (let first = 0; first < names; first += NAMES_PER_BATCH) {
    const calls = [];
    for (let n = first; n < first + NAMES_PER_BATCH; n += 1) {
      const channel = `a-channel-that-is-soon-forgotten-${n}`;
      calls.push({ call: "join", session: id, channel }, { call: "leave", session: id, channel });
    }
    const { results } = await gateway.call("batch", { calls });
    assert.deepEqual(results[0], { joined: true });
    assert.deepEqual(results.at(-1), { left: true });
  }
};
const memory = () => {
  const status = readFileSync(`/proc/${gateway.child.pid}/status`, "utf8");
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)[1]);
};
// Returns the anonymous memory in kB once it has not changed for two seconds: a shard reclaims
// memory after one idle second.
const stableMemory = async () => {
  let [last, polls] = [memory(), 0];
  for (let count = 0; polls < 20 && count < 300; count += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = memory();
    polls = now === last ? polls + 1 : 0;
    last = now;
  }
  return last;
};
await joinAndLeave(20_000);
const before = await stableMemory();
await joinAndLeave(NAMES);
const after = await stableMemory();
assert.ok(after <= before * 1.1, `${before} kB before, ${after} kB after`);
assert.deepEqual((await gateway.request("GET", "/api/v1/channels?route=/wsrv")).body.items, []);
await client.close();
await gateway.stop();
done();
