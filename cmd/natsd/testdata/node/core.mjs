// Core messaging with one of the two client packages:
//   node core.mjs PACKAGE URL USER PASSWORD [CA-FILE]
// It prints "ok" when everything was as it must be.
import assert from "node:assert/strict";

const [pkg, url, user, pass, caFile] = process.argv.slice(2);
const { connect } = await import(pkg);
const options = { servers: url, user, pass, maxReconnectAttempts: 0 };
if (caFile) options.tls = { caFile };
const nc = await connect(options);
const enc = new TextEncoder();
const text = (m) => new TextDecoder().decode(m.data);

const sub = nc.subscribe("a.*", { max: 2 });
nc.publish("a.b", enc.encode("one"));
nc.publish("a.c", enc.encode("two"));
const got = [];
for await (const m of sub) got.push(m.subject + "=" + text(m));
assert.deepEqual(got, ["a.b=one", "a.c=two"]);

nc.subscribe("echo", { callback: (_err, m) => m.respond(m.data) });
assert.equal(text(await nc.request("echo", enc.encode("hi"), { timeout: 5000 })), "hi");
await assert.rejects(nc.request("nobody", enc.encode(""), { timeout: 5000 }));

let workers = 0;
const all = new Promise((resolve) => {
  for (let i = 0; i < 3; i++) {
    nc.subscribe("work", { queue: "q", callback: () => { if (++workers === 100) resolve(); } });
  }
});
for (let i = 0; i < 100; i++) nc.publish("work", enc.encode(""));
await all;
await nc.flush();
assert.equal(workers, 100);

await assert.rejects(connect({ ...options, pass: "wrong" }), /authorization/i);
await nc.drain();
console.log("ok");
