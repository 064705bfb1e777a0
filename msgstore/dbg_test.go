package msgstore

import (
	"os"
	"strconv"
	"testing"
)

func TestDbgCut(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	powerCut(t, seed)
}

func TestDbgFile(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	randomFile(t, seed, 150)
}
