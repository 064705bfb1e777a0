// Streams, consumers, key-value and object store:
//   node jetstream.mjs URL
import assert from "node:assert/strict";
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";

const nc = await connect({ servers: process.argv[2], maxReconnectAttempts: 0 });
const jsm = await jetstreamManager(nc);
const js = jetstream(nc);
const text = (m) => new TextDecoder().decode(m.data);

await jsm.streams.add({ name: "S", subjects: ["s.*"] });
for (let i = 0; i < 100; i++) {
  const ack = await js.publish("s.a", `${i}`, { msgID: `id${i}` });
  assert.equal(ack.seq, i + 1);
}
assert.equal((await js.publish("s.a", "0", { msgID: "id0" })).duplicate, true);
assert.equal((await jsm.streams.info("S")).state.messages, 100);
assert.equal(text(await jsm.streams.getMessage("S", { seq: 5 })), "4");

await jsm.consumers.add("S", { durable_name: "D", ack_policy: "explicit" });
const c = await js.consumers.get("S", "D");
let n = 0;
for await (const m of await c.fetch({ max_messages: 40, expires: 5000 })) {
  assert.equal(m.string(), `${n++}`);
  await m.ackAck();
}
const messages = await c.consume({ max_messages: 10 });
for await (const m of messages) {
  assert.equal(m.string(), `${n++}`);
  m.ack();
  if (n === 100) break;
}
const ordered = await js.consumers.get("S");
n = 0;
for await (const m of await ordered.fetch({ max_messages: 100, expires: 5000 })) assert.equal(m.string(), `${n++}`);
assert.equal(n, 100);

const kv = await new Kvm(nc).create("K", { history: 3 });
const rev = await kv.put("a", "1");
await kv.update("a", "2", rev);
assert.equal((await kv.get("a")).string(), "2");
await kv.delete("a");
assert.equal((await kv.get("a")).operation, "DEL");
const keys = [];
await kv.put("b", "x");
for await (const k of await kv.keys()) keys.push(k);
assert.deepEqual(keys, ["b"]);
await kv.destroy();

const obj = await new Objm(nc).create("O");
const data = new Uint8Array(300_000).map((_, i) => i % 251);
await obj.putBlob({ name: "blob" }, data);
assert.deepEqual(await obj.getBlob("blob"), data);
assert.equal((await obj.list()).length, 1);
await obj.delete("blob");
await obj.destroy();

await jsm.streams.delete("S");
await nc.drain();
console.log("ok");
