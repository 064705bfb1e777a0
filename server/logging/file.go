package logging

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// logFile is a sink that writes to a file and begins a new one when it is full.
type logFile struct {
	format
	path     string
	limit    int64 // grows when a rotation fails
	maxFiles int64
	file     *os.File
	size     int64
}

func openFile(c Config) (sink, error) {
	f := &logFile{format: newFormat(c, false), path: c.File, limit: c.SizeLimit, maxFiles: c.MaxFiles}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("error opening file: %w", err)
	}
	if f.limit > 0 && f.size > f.limit {
		f.write(Info, "Rotating logfile...")
	}
	return f, nil
}

func (f *logFile) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	return nil
}

func (f *logFile) write(level Level, text string) {
	f.append(level, text)
	if f.limit > 0 && f.size > f.limit {
		f.rotate()
	}
}

// append writes a line. What cannot be written is dropped: there is no other place to say so.
func (f *logFile) append(level Level, text string) {
	n, _ := f.file.Write(f.line(level, text))
	f.size += int64(n)
}

// backupTime is the end of a backup's name; the nanoseconds follow.
const backupTime = "2006.01.02.15.04.05"

// rotate renames the file and begins a new one. The oldest backups that are too many go.
func (f *logFile) rotate() {
	if err := f.file.Close(); err != nil {
		f.limit *= 2
		f.append(Error, fmt.Sprintf("Unable to close logfile for rotation (%v), will attempt next rotation at size %d", err, f.limit))
		return
	}
	now := time.Now()
	backup := fmt.Sprintf("%s.%s.%09d", f.path, now.Format(backupTime), now.Nanosecond())
	purged, renamed := f.rename(backup)
	if err := f.open(); err != nil {
		// The old file is as good as any.
		fmt.Fprintf(os.Stderr, "error opening file: %v\n", err)
		if f.file, err = os.OpenFile(backup, os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
			f.file = os.Stderr
		}
		f.limit *= 2
		return
	}
	if renamed != nil {
		f.limit *= 2
		f.append(Error, fmt.Sprintf("Unable to rename logfile for rotation (%v), will attempt next rotation at size %d", renamed, f.limit))
		return
	}
	f.append(Info, fmt.Sprintf("Rotated log, backup saved as %q", backup))
	if purged != "" {
		f.append(Info, fmt.Sprintf("Purged log file %q", purged))
	}
	f.purge()
}

// rename makes the file a backup. Where there are as many backups as may be it takes the oldest one's
// place under its name, which is purged, and then its own name: whoever looks into the directory
// meanwhile finds neither a file too many nor one too few.
func (f *logFile) rename(backup string) (purged string, err error) {
	if f.maxFiles <= 1 {
		return "", os.Rename(f.path, backup)
	}
	// A directory that cannot be read is purge's to report.
	backups, _ := f.backups()
	if int64(len(backups)) < f.maxFiles-1 {
		return "", os.Rename(f.path, backup)
	}
	oldest := backups[0]
	if err := os.Rename(f.path, oldest); err != nil {
		return "", err
	}
	return oldest, os.Rename(oldest, backup)
}

// backupName matches what follows the file's name and a dot.
var backupName = regexp.MustCompile(`^\d{4}(\.\d\d){5}\.\d{9}$`)

// backups returns the paths of the backups, oldest first.
func (f *logFile) backups() ([]string, error) {
	dir, base := filepath.Split(f.path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	var backups []string
	for _, e := range entries {
		if end, ok := strings.CutPrefix(e.Name(), base+"."); ok && backupName.MatchString(end) {
			backups = append(backups, dir+e.Name())
		}
	}
	slices.Sort(backups)
	return backups, nil
}

// purge removes the oldest backups that are too many.
func (f *logFile) purge() {
	if f.maxFiles <= 0 {
		return
	}
	backups, err := f.backups()
	if err != nil {
		f.append(Error, fmt.Sprintf("Unable to read the directory of log files (%v)", err))
		return
	}
	for ; int64(len(backups)) > f.maxFiles-1; backups = backups[1:] {
		if err := os.Remove(backups[0]); err != nil {
			f.append(Error, fmt.Sprintf("Unable to delete log file %q (%v)", backups[0], err))
			continue
		}
		f.append(Info, fmt.Sprintf("Purged log file %q", backups[0]))
	}
}

func (f *logFile) close() error {
	if f.file == os.Stderr {
		return nil
	}
	return f.file.Close()
}
