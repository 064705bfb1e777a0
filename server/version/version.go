// Package version holds the version numbers that the program shows.
package version

const (
	// Compatible is the nats-server release whose behaviour this server has. INFO and /varz carry it as "version":
	// clients decide by it which features they may use.
	Compatible = "2.15.0"

	// Natsd is the version of this program.
	Natsd = "0.1.0"

	// Product is the name of this program, in logs and in answers.
	Product = "natsd"
)

// Commit is the commit that the binary was built from, set with -ldflags "-X".
var Commit = ""

// Line is what --version prints. What follows the plus sign is build metadata, which tools that compare versions pass over.
func Line() string { return "nats-server: v" + Compatible + "+" + Product + "-" + Natsd }
