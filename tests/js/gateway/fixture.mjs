// A world of one gateway, the real executable, and one backend, in this process.
//
// usage of every script beside this one: node SCRIPT.mjs PATH-OF-CAMPANILE FOLDER
//
// The backend is plain node:http: it answers hooks by the functions it was given, and remembers
// what it was asked. Everything listens on loopback, on ports of the kernel's choice, and ends with
// the script. Nothing sleeps; whatever does not come within PATIENCE_MS is an error.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { WebSocket as Ws } from "ws";
import { Client, open, withTimeout } from "../client.mjs";

const [executable, folder] = process.argv.slice(2);
const scratch = mkdtempSync(join(folder, "world-"));
const children = new Set();

// Whatever ends this process ends the gateways with it.
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
process.on("SIGTERM", () => process.exit(1));

// A file in a folder of the script's own.
export function file(name, text) {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

// A gateway with this config, in TOML, once it serves. `flags` may change the number of shards.
export class Gateway {
  static async start(config, flags = ["--shards", "2"]) {
    const path = file(`campanile-${children.size}.toml`, config);
    const args = [
      "--listen",
      "127.0.0.1:0",
      "--log",
      process.env.CAMPANILE_TEST_LOG ?? "warn",
      ...flags,
      "--config",
      path,
    ];
    return Gateway.#spawn(args);
  }

  // With no config at all.
  static async startPlain(flags = ["--shards", "2"]) {
    return Gateway.#spawn(["--listen", "127.0.0.1:0", "--log", "warn", ...flags]);
  }

  static async #spawn(args) {
    const gateway = new Gateway();
    gateway.child = spawn(executable, args, { stdio: ["ignore", "pipe", "pipe"] });
    children.add(gateway.child);
    gateway.log = "";
    gateway.output = "";
    gateway.child.stderr.setEncoding("utf8").on("data", (text) => (gateway.log += text));
    gateway.exited = new Promise((resolve) => gateway.child.on("close", resolve));
    const ready = new Promise((resolve, reject) => {
      gateway.child.stdout.setEncoding("utf8").on("data", (text) => {
        gateway.output += text;
        const found = /is ready on (\S+)/.exec(gateway.output);
        if (found && gateway.output.includes("\n  ")) resolve(found[1]);
      });
      gateway.exited.then((code) => reject(new Error(`ended with ${code}: ${gateway.log}`)));
    });
    gateway.host = await withTimeout("a gateway that serves", ready);
    return gateway;
  }

  // A request over HTTP: status, headers and body, which is parsed where it is JSON.
  async request(method, path, body, headers = {}) {
    const answer = await withTimeout(
      `an answer to ${method} ${path}`,
      fetch(`http://${this.host}${path}`, {
        method,
        headers: {
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      }),
    );
    const text = await answer.text();
    const isJson = (answer.headers.get("content-type") ?? "").includes("json");
    return {
      status: answer.status,
      headers: answer.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  // What the server API says to a call that must be done.
  async call(name, body, headers) {
    const { status, body: answer } = await this.request("POST", `/api/v1/${name}`, body, headers);
    assert.equal(status, 200, `${name}: ${JSON.stringify(answer)}`);
    return answer;
  }

  // A client by the package `ws`, which can set headers and protocols.
  async connect(path, { headers, protocols } = {}) {
    return open(new Ws(`ws://${this.host}${path}`, protocols ?? [], { headers }));
  }

  // How an upgrade is refused: status and body.
  async rejection(path, { headers, protocols } = {}) {
    const socket = new Ws(`ws://${this.host}${path}`, protocols ?? [], { headers });
    const answer = new Promise((resolve, reject) => {
      socket.on("open", () => reject(new Error(`${path} let it in`)));
      socket.on("error", reject);
      socket.on("unexpected-response", (request, response) => {
        let body = "";
        response.on("data", (part) => (body += part));
        response.on("end", () => {
          request.socket.destroy();
          resolve([response.statusCode, body]);
        });
      });
    });
    return withTimeout("a refusal", answer);
  }

  async stop() {
    this.child.kill("SIGTERM");
    const code = await withTimeout("the gateway's end", this.exited);
    children.delete(this.child);
    assert.equal(code, 0, this.log);
  }
}

// A backend. `answers` maps a hook's name to a function of what is asked, which returns the JSON of
// the answer, a number (a status without a body) or a function of the response.
export class Backend {
  static async start(responses = {}, port = 0) {
    const backend = new Backend();
    backend.responses = responses;
    backend.requests = [];
    backend.waiters = [];
    backend.sockets = new Set();
    backend.server = createServer((request, response) => backend.#answer(request, response));
    backend.server.on("connection", (socket) => {
      backend.sockets.add(socket);
      socket.on("close", () => backend.sockets.delete(socket));
    });
    await new Promise((resolve, reject) => {
      backend.server.on("error", reject);
      backend.server.listen(port, "127.0.0.1", resolve);
    });
    backend.port = backend.server.address().port;
    return backend;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }

  async #answer(request, response) {
    let text = "";
    for await (const part of request.setEncoding("utf8")) text += part;
    const asked = JSON.parse(text);
    assert.equal(request.method, "POST");
    assert.equal(request.headers["content-type"], "application/json");
    assert.equal(request.headers["campanile-hook"], asked.hook);
    assert.equal(request.headers["campanile-hook-id"], asked.id);
    this.requests.push({ ...asked, headers: request.headers });
    this.waiters.splice(0).forEach((wake) => wake());
    const answer = await (this.responses[asked.hook] ?? (() => 204))(asked, response);
    if (answer === undefined) return; // it has been seen to
    if (typeof answer === "number") {
      response.writeHead(answer).end();
    } else if (typeof answer === "string") {
      response.writeHead(200, { "content-type": "application/json" }).end(answer);
    } else {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    }
  }

  // What was asked by hooks of this name so far.
  of(hook) {
    return this.requests.filter((asked) => asked.hook === hook);
  }

  // Waits until so many hooks of this name have been asked.
  async until(hook, count) {
    while (this.of(hook).length < count) {
      await withTimeout(`hook ${hook}`, new Promise((wake) => this.waiters.push(wake)));
    }
    return this.of(hook);
  }

  // Ends with all its connections.
  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

// A `[[backends]]` table and a `hooks` line for it.
export function backendTable(backend, more = "") {
  return `[[backends]]\nname = "app"\nurl = "${backend.url}"\n${more}\n`;
}

export { Client, open, withTimeout };

// Told to whoever started the script, who believes no exit status alone.
export function done() {
  console.log("done");
  process.exit(0);
}
