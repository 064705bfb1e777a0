module github.com/natsd/natsd/msgstore

go 1.26

require github.com/natsd/natsd/subjecttree v0.0.0

replace github.com/natsd/natsd/subjecttree => ../subjecttree
