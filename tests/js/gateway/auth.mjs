// JSON Web Tokens made by node:crypto, in every dialect and every place of a request.

import assert from "node:assert/strict";
import { createHmac, createSign, generateKeyPairSync } from "node:crypto";
import { renameSync, writeFileSync } from "node:fs";
import { Gateway, done, file } from "./fixture.mjs";

const base64url = (value) => Buffer.from(value).toString("base64url");
const now = Math.floor(Date.now() / 1000);
const good = { sub: "jack", exp: now + 3600, role: "admin", groups: ["a", "b"] };

function token(alg, key, claims = good, header = {}) {
  const head = base64url(JSON.stringify({ typ: "JWT", alg, ...header }));
  const signed = `${head}.${base64url(JSON.stringify(claims))}`;
  if (alg.toLowerCase() === "none") return `${signed}.`;
  if (alg === "HS256")
    return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
  const options = alg === "ES256" ? { key, dsaEncoding: "ieee-p1363" } : { key };
  const sign = createSign(alg === "RS384" ? "sha384" : "sha256").update(signed);
  return `${signed}.${sign.sign(options).toString("base64url")}`;
}

const secret = "0123456789abcdef0123456789abcdef";
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const other = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = (key) => key.export({ type: "spki", format: "pem" });
const jwk = (key, kid) => ({ ...key.export({ format: "jwk" }), kid, use: "sig" });
const rsaFile = file("rsa.pem", pem(rsa.publicKey));
const jwksFile = file(
  "jwks.json",
  JSON.stringify({ keys: [jwk(rsa.publicKey, "r"), jwk(ec.publicKey, "e")] }),
);

const gateway = await Gateway.start(`
[[routes]]
path = "/hs"
dialect = "wsrv"
push_frame = "text"
jwt = { secret = "${secret}", issuer = "me", audience = "you" }
[[routes]]
path = "/rs"
dialect = "wsrv"
push_frame = "text"
jwt = { key_file = "${rsaFile}" }
token_from = ["cookie:session", "header:x-token", "bearer"]
[routes.commands]
admin = { action = "reply", data = "yes", allow = { claim = "role", value = "admin" } }
group = { action = "reply", data = "yes", allow = { claim = "groups", value = "b" } }
none = { action = "reply", data = "yes", allow = { claim = "groups", value = "c" } }
[[routes]]
path = "/jwks"
dialect = "projectforge"
jwt = { jwks_file = "${jwksFile}", user_claim = "sub", leeway_s = 10 }
anonymous = true
join_on_open = ["user:{user}"]
[[routes]]
path = "/edk"
dialect = "edk"
jwt = { jwks_file = "${jwksFile}" }
[[routes]]
path = "/easyws"
dialect = "easyws"
jwt = { secret = "${secret}" }
[[routes]]
path = "/ws"
dialect = "wserver"
push_path = "/push"
jwt = { secret = "${secret}" }
`);

async function expectSession(path, options) {
  const client = await gateway.connect(path, options);
  await client.close();
}
const query = (path, text) => `${path}?token=${text}`;
const mine = { ...good, iss: "me", aud: ["us", "you"] };

// HS256, issuer and audience.
await expectSession(query("/hs", token("HS256", secret, mine)));
const invalid = {
  none: token("none", "", mine),
  "None, capitalized": token("None", "", mine),
  "another secret": token("HS256", `${secret}x`, mine),
  "no issuer": token("HS256", secret, { ...mine, iss: undefined }),
  "another issuer": token("HS256", secret, { ...mine, iss: "they" }),
  "another audience": token("HS256", secret, { ...mine, aud: "us" }),
  expired: token("HS256", secret, { ...mine, exp: now - 1 }),
  "no expiry": token("HS256", secret, { ...mine, exp: undefined }),
  "not yet": token("HS256", secret, { ...mine, nbf: now + 3600 }),
  "no user": token("HS256", secret, { ...mine, sub: undefined }),
  "an empty user": token("HS256", secret, { ...mine, sub: "" }),
  "an RSA signature": token("RS256", rsa.privateKey, mine),
  "no token at all": "x",
  "two parts": token("HS256", secret, mine).split(".").slice(0, 2).join("."),
};
for (const [what, text] of Object.entries(invalid)) {
  assert.equal((await gateway.rejection(query("/hs", text)))[0], 401, what);
}
assert.equal((await gateway.rejection("/hs"))[0], 401, "no token");

// RS256 from a PEM file: its text is not an HS256 secret. The first place with a token is used.
const rs = token("RS256", rsa.privateKey);
await expectSession("/rs", { headers: { cookie: `session=${rs}` } });
await expectSession("/rs", { headers: { "x-token": rs } });
const client = await gateway.connect("/rs", { headers: { authorization: `Bearer ${rs}` } });
const call = async (cmd) => {
  client.send(JSON.stringify({ cmd, seqno: "1" }));
  return (await client.nextJson()).msg;
};
assert.deepEqual(
  [await call("admin"), await call("group"), await call("none")],
  ["ok", "ok", "not authorized"],
);
await client.close();
for (const [what, text] of Object.entries({
  "HS256 with the key's text": token("HS256", pem(rsa.publicKey)),
  RS384: token("RS384", rsa.privateKey),
  "another key": token("RS256", other.privateKey),
  ES256: token("ES256", ec.privateKey),
})) {
  const headers = { authorization: `Bearer ${text}` };
  assert.equal((await gateway.rejection("/rs", { headers }))[0], 401, what);
}
const wrongFirst = { headers: { cookie: "session=x", authorization: `Bearer ${rs}` } };
assert.equal((await gateway.rejection("/rs", wrongFirst))[0], 401);

// A JWKS file that is replaced: the old keys are invalid at once.
const forge = (text) => `/jwks?ch=x${text ? `&token=${text}` : ""}`;
const keyed = (alg, key, kid, claims) => token(alg, key, claims, { kid });
const late = { ...good, exp: now - 5 };
await expectSession(forge(keyed("RS256", rsa.privateKey, "r")));
await expectSession(forge(keyed("ES256", ec.privateKey, "e", late)));
await expectSession(forge(""));
for (const text of [
  keyed("RS256", rsa.privateKey, "x"),
  keyed("RS256", rsa.privateKey, undefined),
  keyed("RS256", rsa.privateKey, "e"),
  keyed("HS256", rsa.publicKey.export({ format: "jwk" }).n, "r"),
]) {
  assert.equal((await gateway.rejection(forge(text)))[0], 401);
}
const next = file("next.json", JSON.stringify({ keys: [jwk(other.publicKey, "o")] }));
renameSync(next, jwksFile);
await expectSession(forge(keyed("RS256", other.privateKey, "o")));
assert.equal((await gateway.rejection(forge(keyed("RS256", rsa.privateKey, "r"))))[0], 401);
// An invalid file is ignored; the previous keys stay.
writeFileSync(jwksFile, "{");
await expectSession(forge(keyed("RS256", other.privateKey, "o")));
writeFileSync(jwksFile, JSON.stringify({ keys: [jwk(other.publicKey, "o")] }));

// edk: the token determines the user; a header with another user is rejected.
const edk = keyed("RS256", other.privateKey, "o");
const protocols = [edk];
await expectSession("/edk", { protocols });
await expectSession("/edk", { protocols, headers: { "x-user-id": "jack" } });
assert.equal(
  (await gateway.rejection("/edk", { protocols, headers: { "x-user-id": "jill" } }))[0],
  401,
);
assert.equal((await gateway.rejection("/edk", { protocols: ["x"] }))[0], 401);

// easyws: in the cookie. wserver: in the registration.
const hs = token("HS256", secret);
await expectSession("/easyws", { headers: { cookie: `auth=${hs}` } });
const wrong = { headers: { cookie: `auth=${token("HS256", `${secret}x`)}` } };
assert.deepEqual(await gateway.rejection("/easyws", wrong), [403, "Authentication failed\n"]);
const ws = await gateway.connect("/ws");
ws.send(JSON.stringify({ token: invalid.expired, event: "e" }));
ws.send(JSON.stringify({ token: hs, event: "e" }));
let total = "";
while (total !== "message sent to 1 clients") {
  total = (await gateway.request("POST", "/push", { userId: "jack", event: "e", message: "hi" }))
    .body;
}
assert.equal(await ws.next(), "hi");
await ws.close();
await gateway.stop();
done();
