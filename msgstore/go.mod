module github.com/natsd/natsd/msgstore

go 1.26.0

require (
	github.com/google/btree v1.1.3
	github.com/klauspost/compress v1.20.3
	github.com/minio/highwayhash v1.0.4
	github.com/natsd/natsd/subjecttree v0.0.0
	golang.org/x/crypto v0.58.0
)

require golang.org/x/sys v0.49.0 // indirect

replace github.com/natsd/natsd/subjecttree => ../subjecttree
