package server

import "syscall"

// machineMemory returns the bytes of memory of the machine, 0 if that is not known.
func machineMemory() int64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// freeDisk returns the bytes that are free for us on the disk of a directory, 0 if that is not known.
func freeDisk(dir string) int64 {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
