package independent

import (
	"path/filepath"
	"strings"
)

// Judge reads a whole store directory: the parent of "jetstream". contents are its
// streams by "<account>/<stream>", and problems everything in which the directory
// does not keep to the format, each behind the name of its stream: none after an
// orderly stop, nor after a process was killed, whatever the options. (A power cut
// may leave torn tails, which a server repairs when it opens the directory.)
// key is the encryption key, "" without encryption.
func Judge(dir, key string) (problems []string, contents map[string]*Stream, err error) {
	streams, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "[^.]*"))
	if err != nil {
		return nil, nil, err
	}
	contents = map[string]*Stream{}
	for _, stream := range streams {
		name := filepath.Base(filepath.Dir(filepath.Dir(stream))) + "/" + filepath.Base(stream)
		s, err := Read(stream, key)
		if err != nil {
			problems = append(problems, name+": "+err.Error())
			continue
		}
		contents[name] = s
		for _, p := range s.Problems {
			problems = append(problems, name+": "+strings.TrimSpace(p))
		}
	}
	return problems, contents, nil
}
