package options

import "time"

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
		HTTPBasePath:          "/",
		Logtime:               true,
		Authorization:         Authorization{Timeout: 2 * time.Second},
		JetStream: JetStream{
			MaxMemory:             -1,
			MaxStore:              -1,
			Strict:                true,
			SyncAlways:            true,
			SyncInterval:          2 * time.Minute,
			MaxOutstandingCatchup: 64 << 20,
			MaxBufferedSize:       128 << 20,
			MaxBufferedMsgs:       100000,
			RequestQueueLimit:     10000,
			InfoQueueLimit:        10000,
			MaxConcurrentIO:       4096,
		},
		Cluster: Cluster{
			Listener:    Listener{Host: "0.0.0.0"},
			PoolSize:    3,
			Compression: Compression{Mode: "accept"},
		},
		Gateway: Gateway{Listener: Listener{Host: "0.0.0.0"}},
		LeafNodes: LeafNodes{
			Listener:          Listener{Host: "0.0.0.0"},
			ReconnectInterval: time.Second,
			DialTimeout:       time.Second,
			Compression:       Compression{Mode: "s2_auto"},
		},
		WebSocket: WebSocket{Listener: Listener{Host: "0.0.0.0"}},
		MQTT: MQTT{
			Listener:      Listener{Host: "0.0.0.0"},
			AckWait:       30 * time.Second,
			JSAPITimeout:  5 * time.Second,
			MaxAckPending: 1024,
		},
	}
}
