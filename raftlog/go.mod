module github.com/natsd/natsd/raftlog

go 1.26
