// Pub/sub server for the comparison: Node.js with the package `ws`.
//
// usage: node ws.mjs PORT, from a folder whose node_modules has `ws`
//
// Has the paths of bun.mjs. Loopback only, no compression.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const { WebSocketServer } = createRequire(join(process.cwd(), "x.js"))("ws");
const port = Number(process.argv[2]);
const topics = new Map();
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || pathname !== "/publish") {
    response.writeHead(404).end("not found");
    return;
  }
  const parts = [];
  for await (const part of request) parts.push(part);
  const message = Buffer.concat(parts);
  const members = topics.get(searchParams.get("topic") ?? "") ?? [];
  let count = 0;
  for (const member of members) {
    member.send(message, { binary: false });
    count += 1;
  }
  response.end(String(count));
});
server.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  sockets.handleUpgrade(request, socket, head, (client) => {
    client.on("error", () => {}); // `close` follows
    if (pathname === "/echo") {
      client.on("message", (message, binary) => client.send(message, { binary }));
      return;
    }
    const topic = searchParams.get("topic") ?? "";
    if (!topics.has(topic)) topics.set(topic, new Set());
    topics.get(topic).add(client);
    client.on("close", () => topics.get(topic).delete(client));
  });
});
server.listen(port, "127.0.0.1", 4_096, () => {
  console.log(`ws on node ${process.version} is ready on 127.0.0.1:${port}`);
});
