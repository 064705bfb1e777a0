package options

import "time"

// Defaults of options whose zero means them.
const (
	DefaultBlockHost             = "0.0.0.0" // of blocks that listen
	DefaultMaxOutstandingCatchup = 64 << 20
)

// Default returns the options of a server that was told nothing.
func Default() *Options {
	return &Options{
		Host:                  "0.0.0.0",
		Port:                  4222,
		MaxConnections:        65536,
		MaxControlLine:        4096,
		MaxPayload:            1 << 20,
		MaxPending:            64 << 20,
		MaxClosedClients:      10000,
		PingInterval:          2 * time.Minute,
		PingMax:               2,
		WriteDeadline:         10 * time.Second,
		LameDuckDuration:      2 * time.Minute,
		LameDuckGracePeriod:   10 * time.Second,
		ConnectErrorReports:   3600,
		ReconnectErrorReports: 1,
		Logtime:               true,
		Authorization:         Authorization{Timeout: 2 * time.Second},
		JetStream: JetStream{
			MaxMemory:         -1,
			MaxStore:          -1,
			Strict:            true,
			SyncAlways:        true,
			SyncInterval:      2 * time.Minute,
			Cipher:            "chacha",
			MaxBufferedSize:   128 << 20,
			MaxBufferedMsgs:   100000,
			RequestQueueLimit: 10000,
			InfoQueueLimit:    10000,
			MaxConcurrentIO:   4096,
		},
		Cluster: Cluster{
			PoolSize:    3,
			Compression: Compression{Mode: "accept"},
		},
		LeafNodes: LeafNodes{
			ReconnectInterval: time.Second,
			DialTimeout:       time.Second,
			Compression:       Compression{Mode: "s2_auto"},
		},
		MQTT: MQTT{
			AckWait:       30 * time.Second,
			JSAPITimeout:  5 * time.Second,
			MaxAckPending: 1024,
		},
	}
}
