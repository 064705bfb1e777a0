module github.com/natsd/natsd

go 1.26.0

require (
	github.com/natsd/natsd/msgstore v0.0.0
	github.com/natsd/natsd/raftlog v0.0.0
	github.com/natsd/natsd/subjecttree v0.0.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/nats-io/nats.go v1.55.0 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/natsd/natsd/msgstore => ./msgstore
	github.com/natsd/natsd/raftlog => ./raftlog
	github.com/natsd/natsd/subjecttree => ./subjecttree
)
