package main

// proof is a random test that can go on for as long as wanted.
type proof struct {
	name, about string
	pkg         string // of the test
	test        string // its name
	units       string // what is counted; "" stands for seeds
	perSeed     int    // units of one seed; 0: one
	count       int    // units that are tried when nothing is said
	chunk       int    // seeds of one process
}

func (p *proof) unit() string {
	if p.units == "" {
		return "runs"
	}
	return p.units
}

const root = "github.com/natsd/natsd/"

var proofs = []*proof{
	{
		name: "powercut-spine", about: "Power cuts of the whole server: one stream, one consumer",
		pkg: root + "server", test: "TestPowerCutSpine", count: 1000, chunk: 10,
	}, {
		name: "powercut-server", about: "Power cuts of the whole server: everything that streams do",
		pkg: root + "server", test: "TestPowerCutStreams", count: 1000, chunk: 10,
	}, {
		name: "powercut-consumers", about: "Power cuts of the whole server: consumers of all kinds",
		pkg: root + "server", test: "TestPowerCutConsumers", count: 1000, chunk: 10,
	}, {
		name: "powercut-engine", about: "Power cuts of the JetStream engine without sockets: streams",
		pkg: root + "jetstream", test: "TestPowerCut", count: 1000, chunk: 50,
	}, {
		name: "powercut-engine-consumers", about: "Power cuts of the JetStream engine without sockets: consumers",
		pkg: root + "jetstream", test: "TestConsumerPowerCut", count: 1000, chunk: 50,
	}, {
		name: "powercut-store", about: "Power cuts of a stream store",
		pkg: root + "msgstore", test: "TestPowerCut", count: 10_000, chunk: 100,
	}, {
		name: "powercut-committer", about: "Power cuts of the committer and its journal",
		pkg: root + "msgstore/commit", test: "TestPowerCuts", count: 10_000, chunk: 100,
	}, {
		name: "damage-store", about: "Random damage to a stopped stream store: the rest is there, the loss is reported, nothing else is returned",
		pkg: root + "msgstore", test: "TestDamage", count: 10_000, chunk: 1000,
	}, {
		name: "damage-check", about: "Random damage of files: the offline checker finds it, and recovers the rest",
		pkg: root + "msgstore/check", test: "TestRandomDamage", units: "damages", perSeed: 4, count: 10_000, chunk: 25,
	}, {
		name: "model-store", about: "Random operations on a file store, compared with a model",
		pkg: root + "msgstore", test: "TestRandomFile", units: "ops", perSeed: 150, count: 1_000_000, chunk: 100,
	}, {
		name: "model-memory-store", about: "Random operations on a memory store, compared with a model",
		pkg: root + "msgstore", test: "TestRandomMem", units: "ops", perSeed: 150, count: 1_000_000, chunk: 100,
	}, {
		name: "model-consumers", about: "Random things that happen to a consumer on virtual time, compared with a model",
		pkg: root + "jetstream/consumer", test: "TestModel", count: 20_000, chunk: 1000,
	}, {
		name: "kill9", about: "kill -9 of the built server under load: streams",
		pkg: root + "cmd/natsd", test: "TestKillStreams", units: "rounds", count: 200, chunk: 10,
	}, {
		name: "kill9-consumers", about: "kill -9 of the built server under load: consumers",
		pkg: root + "cmd/natsd", test: "TestKillConsumers", units: "rounds", count: 100, chunk: 5,
	},
}
