module github.com/natsd/natsd/subjecttree

go 1.26
