// The dialect wsrv with Node's built-in WebSocket and `ws`.

import assert from "node:assert/strict";
import { WebSocket as Ws } from "ws";
import { base, done, open } from "./client.mjs";

for (const Socket of [WebSocket, Ws]) {
  const client = await open(new Socket(`${base}/wsrv`));
  assert.equal(client.socket.protocol, "");
  const request = (cmd, seqno, data) => JSON.stringify({ cmd, seqno, data });

  // The response has the frame type of the request and exactly these bytes.
  const sum = '{"cmd":"sum","seqno":"s1","status":0,"msg":"ok","data":3}';
  client.send(request("sum", "s1", { a: 1, b: 2 }));
  assert.equal(await client.next(), sum);
  client.send(Buffer.from(request("sum", "s1", { a: 1, b: 2 })));
  assert.deepEqual(await client.next(), Buffer.from(sum));

  // Request data keep their escapes in the response, and `<`, `>`, `&` and U+2028 are escaped.
  const escaped = '"\\u003cb\\u003e\\u0026\\u2028\u00e9\\b\\n/"';
  client.send(request("repeat", "<", "<b>&\u2028\u00e9\b\n/"));
  assert.equal(
    await client.next(),
    `{"cmd":"repeat","seqno":"\\u003c","status":0,"msg":"ok","data":${escaped}}`,
  );

  // Invalid messages have no response; the next response belongs to the next request.
  for (const invalid of ["", "hello", "[]", '{"cmd":"sum","seqno":1}', "{} {}"]) {
    client.send(invalid);
  }
  client.send('{"CMD":"no","Seqno":"s2","x":1}');
  const missing = '{"cmd":"no","seqno":"s2","status":-1,"msg":"not implement","data":{}}';
  assert.equal(await client.next(), missing);
  client.send("null");
  const empty = '{"cmd":"","seqno":"","status":-1,"msg":"not implement","data":{}}';
  assert.equal(await client.next(), empty);

  // A failure has the status 999999999 and a message.
  client.send('{"cmd":"sum","seqno":"s3"}');
  assert.deepEqual(await client.nextJson(), {
    cmd: "sum",
    seqno: "s3",
    status: 999_999_999,
    msg: "unexpected end of JSON input",
    data: {},
  });

  // A push is sent before the response of its handler, with the route's frame type for pushes.
  client.send(request("notify", "s4"));
  const push = await client.next();
  assert.ok(Buffer.isBuffer(push), "pushes are binary unless the route says otherwise");
  const { seqno, ...rest } = JSON.parse(push.toString());
  assert.match(seqno, /^[a-zA-Z0-9$@]{8}$/);
  assert.deepEqual(rest, { cmd: "news", status: 0, msg: "ok", data: null });
  assert.equal((await client.nextJson()).seqno, "s4");

  // Requests are handled concurrently: the second response comes first.
  client.send(request("wait", "slow"));
  client.send(request("release", "quick"));
  assert.equal((await client.nextJson()).seqno, "quick");
  assert.equal((await client.nextJson()).seqno, "slow");

  // 500 concurrent requests have one response each.
  const wanted = Array.from({ length: 500 }, (_, index) => String(index));
  for (const seqno of wanted) client.send(request("sum", seqno, { a: 0, b: Number(seqno) }));
  const received = [];
  for (const _ of wanted) {
    const { seqno, data } = await client.nextJson();
    assert.equal(String(data), seqno);
    received.push(seqno);
  }
  assert.deepEqual(received.sort(), wanted.sort());
  await client.close();

  const texts = await open(new Socket(`${base}/wsrv-text`));
  texts.send(request("notify", "s5"));
  assert.equal((await texts.nextJson()).cmd, "news");
  assert.equal((await texts.nextJson()).seqno, "s5");
  await texts.close(3000);
}
done();
