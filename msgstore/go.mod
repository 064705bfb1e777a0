module github.com/natsd/natsd/msgstore

go 1.26

require github.com/minio/highwayhash v1.0.4

require golang.org/x/sys v0.21.0 // indirect

replace github.com/natsd/natsd/subjecttree => ../subjecttree
