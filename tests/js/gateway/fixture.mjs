// Shared by the scripts of this folder: a gateway (the executable) and a backend in this process.
//
// usage of every other script here: node SCRIPT.mjs PATH-OF-CAMPANILE FOLDER
//
// The backend is a node:http server. It responds to hooks with the given functions and records the
// requests. Everything listens on free loopback ports and ends with the script. Nothing sleeps; an
// event that does not occur within TIMEOUT_MS is an error.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { WebSocket as Ws } from "ws";
import { Client, open, withTimeout } from "../client.mjs";

const [executable, folder] = process.argv.slice(2);
const scratch = mkdtempSync(join(folder, "fixture-"));
const children = new Set();

// Kill the gateways when this process exits.
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
process.on("SIGTERM", () => process.exit(1));

// Writes a file into a temporary folder of this script and returns its path.
export function file(name, text) {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

// A gateway process.
export class Gateway {
  // Starts a gateway with a config in TOML and waits until it is ready.
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

  // Starts a gateway without a config file.
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
      gateway.exited.then((code) => reject(new Error(`exit status ${code}: ${gateway.log}`)));
    });
    gateway.host = await withTimeout("ready line", ready);
    return gateway;
  }

  // Sends an HTTP request. Returns status, headers and body; a JSON body is parsed.
  async request(method, path, body, headers = {}) {
    const response = await withTimeout(
      `response to ${method} ${path}`,
      fetch(`http://${this.host}${path}`, {
        method,
        headers: {
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      }),
    );
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  // Calls the server API, asserts status 200 and returns the body.
  async call(name, body, headers) {
    const { status, body: result } = await this.request("POST", `/api/v1/${name}`, body, headers);
    assert.equal(status, 200, `${name}: ${JSON.stringify(result)}`);
    return result;
  }

  // Connects with the package `ws`, which can set headers and subprotocols.
  async connect(path, { headers, protocols } = {}) {
    return open(new Ws(`ws://${this.host}${path}`, protocols ?? [], { headers }));
  }

  // Returns the status and body with which an upgrade is rejected.
  async rejection(path, { headers, protocols } = {}) {
    const socket = new Ws(`ws://${this.host}${path}`, protocols ?? [], { headers });
    const rejected = new Promise((resolve, reject) => {
      socket.on("open", () => reject(new Error(`${path}: the upgrade was accepted`)));
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
    return withTimeout("rejection", rejected);
  }

  // Stops the gateway and asserts exit status 0.
  async stop() {
    this.child.kill("SIGTERM");
    const code = await withTimeout("exit of the gateway", this.exited);
    children.delete(this.child);
    assert.equal(code, 0, this.log);
  }
}

// A backend that responds to hooks and records the requests in `requests`.
export class Backend {
  // Starts a backend. `responses` maps a hook's name to a function of the hook request and the
  // node:http response. It returns an object or the text of the JSON body, a status without a body,
  // or `undefined` if it uses the response itself. Hooks without a function get 204.
  static async start(responses = {}, port = 0) {
    const backend = new Backend();
    backend.responses = responses;
    backend.requests = [];
    backend.waiters = [];
    backend.sockets = new Set();
    backend.server = createServer((request, response) => backend.#respond(request, response));
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

  async #respond(request, response) {
    let text = "";
    for await (const part of request.setEncoding("utf8")) text += part;
    const call = JSON.parse(text);
    assert.equal(request.method, "POST");
    assert.equal(request.headers["content-type"], "application/json");
    assert.equal(request.headers["campanile-hook"], call.hook);
    assert.equal(request.headers["campanile-hook-id"], call.id);
    this.requests.push({ ...call, headers: request.headers });
    this.waiters.splice(0).forEach((wake) => wake());
    const result = await (this.responses[call.hook] ?? (() => 204))(call, response);
    if (result === undefined) return;
    if (typeof result === "number") {
      response.writeHead(result).end();
    } else if (typeof result === "string") {
      response.writeHead(200, { "content-type": "application/json" }).end(result);
    } else {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(result));
    }
  }

  // Returns the requests of a hook so far.
  requestsOf(hook) {
    return this.requests.filter((request) => request.hook === hook);
  }

  // Waits until there are at least `count` requests of a hook and returns them.
  async waitForRequests(hook, count) {
    while (this.requestsOf(hook).length < count) {
      await withTimeout(`hook ${hook}`, new Promise((wake) => this.waiters.push(wake)));
    }
    return this.requestsOf(hook);
  }

  // Stops the backend and closes all its connections.
  async stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

// Returns a `[[backends]]` table for a backend, named `app`; `more` has further lines.
export function backendTable(backend, more = "") {
  return `[[backends]]\nname = "app"\nurl = "${backend.url}"\n${more}\n`;
}

export { Client, open, withTimeout };

// Prints `done` and exits. The Rust test requires it as well as exit status 0.
export function done() {
  console.log("done");
  process.exit(0);
}
