// Messages, pings and closes independent of a dialect's rules, with the dialect echo.

import assert from "node:assert/strict";
import { once } from "node:events";
import { WebSocket as Ws } from "ws";
import { base, done, open, withTimeout } from "./client.mjs";

const url = `${base}/echo`;
for (const Socket of [WebSocket, Ws]) {
  const client = await open(new Socket(url));
  const long = [125, 126, 1e6].map((size) => "x".repeat(size));
  const texts = ["", "hi", "\u00e9\u{1f600}\u0000", ...long];
  for (const text of texts) client.send(text);
  for (const text of texts) assert.equal(await client.next(), text);
  for (const size of [0, 1, 65_535, 65_536, 300_000]) {
    const bytes = Buffer.alloc(size, "\u00ff\u0000", "latin1");
    client.send(bytes);
    assert.ok(bytes.equals(await client.next()), `${size} bytes`);
  }
  await client.close(3999);

  // A close frame without a code is echoed without one.
  const codeless = await open(new Socket(url));
  codeless.socket.close();
  const { code, wasClean } = await withTimeout("close", codeless.closed);
  assert.deepEqual({ code, wasClean }, { code: 1005, wasClean: true });
}

const { socket } = await open(new Ws(url));
const pong = once(socket, "pong");
socket.ping("payload");
assert.equal((await withTimeout("pong", pong))[0].toString(), "payload");
const message = once(socket, "message");
for (const part of ["a", "b"]) socket.send(part, { fin: false });
socket.ping();
socket.send("c", { fin: true });
assert.equal((await withTimeout("message", message))[0].toString(), "abc");
socket.terminate();
done();
