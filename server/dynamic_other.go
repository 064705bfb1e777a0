//go:build !linux

package server

// machineMemory is not known on this system.
func machineMemory() int64 { return 0 }

// freeDisk is not known on this system.
func freeDisk(string) int64 { return 0 }
