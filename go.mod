module github.com/natsd/natsd

go 1.26.0

require (
	github.com/nats-io/nats.go v1.55.0
	github.com/nats-io/nkeys v0.4.17
	github.com/natsd/natsd/msgstore v0.0.0
	github.com/natsd/natsd/subjecttree v0.0.0
	github.com/spf13/cobra v1.10.2
	golang.org/x/crypto v0.58.0
)

require go.uber.org/goleak v1.3.0

require (
	github.com/google/btree v1.1.3 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.20.3
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2
	github.com/nats-io/nuid v1.0.1
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/natsd/natsd/msgstore => ./msgstore
	github.com/natsd/natsd/raftlog => ./raftlog
	github.com/natsd/natsd/subjecttree => ./subjecttree
)
