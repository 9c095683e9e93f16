// A pub/sub server of Bun's (uWebSockets inside), to be measured against.
//
// usage: bun bun.mjs PORT
//
// `GET /ws?topic=T` subscribes, `POST /publish?topic=T` sends its body to all of T as a text, `GET
// /echo` sends every message back. Loopback only, no compression, no time-outs.

const port = Number(Bun.argv[2]);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  idleTimeout: 0,
  async fetch(request, server) {
    const { pathname, searchParams } = new URL(request.url);
    const topic = searchParams.get("topic") ?? "";
    if (pathname === "/publish" && request.method === "POST") {
      server.publish(topic, await request.text(), false);
      return new Response(String(server.subscriberCount(topic)));
    }
    if (server.upgrade(request, { data: { topic, echoes: pathname === "/echo" } })) return;
    return new Response("not found", { status: 404 });
  },
  websocket: {
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: false,
    backpressureLimit: 16 << 20,
    open(socket) {
      if (!socket.data.echoes) socket.subscribe(socket.data.topic);
    },
    message(socket, message) {
      if (socket.data.echoes) socket.send(message, false);
    },
  },
});
console.log(`bun ${Bun.version} is ready on ${server.hostname}:${server.port}`);
