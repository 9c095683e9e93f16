// Pub/sub server for the comparison: Bun, which uses uWebSockets.
//
// usage: bun bun.mjs PORT
//
// `GET /ws?topic=T` subscribes to T. `POST /publish?topic=T` sends its body to all subscribers as a
// text message. `GET /echo` echoes every message. Loopback only, no compression, no timeouts.

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
