module github.com/natsd/natsd

go 1.26.0

require (
	github.com/natsd/natsd/msgstore v0.0.0
	github.com/natsd/natsd/raftlog v0.0.0
	github.com/natsd/natsd/subjecttree v0.0.0
)

replace (
	github.com/natsd/natsd/msgstore => ./msgstore
	github.com/natsd/natsd/raftlog => ./raftlog
	github.com/natsd/natsd/subjecttree => ./subjecttree
)
