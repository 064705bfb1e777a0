module github.com/natsd/natsd/msgstore

go 1.26.0

require (
	github.com/minio/highwayhash v1.0.4
	golang.org/x/crypto v0.58.0
)

require golang.org/x/sys v0.49.0 // indirect

replace github.com/natsd/natsd/subjecttree => ../subjecttree
