package options

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what came into the transcripts")

// TestTranscript compares what a test of each configuration says (the digest of one that is valid, else the diagnostics),
// and for those that are refused at the start, why. Blocks of a transcript begin with ==== and have their result behind
// ----; a NUL character stands there as \0.
func TestTranscript(t *testing.T) {
	t.Run("check", func(t *testing.T) { runTranscript(t, "testdata/check.txt", check) })
	t.Run("refused", func(t *testing.T) { runTranscript(t, "testdata/refused.txt", validate) })
}

func runTranscript(t *testing.T, transcript string, result func(*testing.T, string) string) {
	text, err := os.ReadFile(transcript)
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	blocks := strings.Split(string(text), "\n====\n")
	for i, block := range blocks[1:] {
		body, rest, ok := strings.Cut(block, "----\n")
		if !ok {
			t.Fatalf("block without a result: %q", block)
		}
		want, after, _ := strings.Cut(rest, "\n\n")
		want = strings.TrimSuffix(want, "\n")
		got := result(t, body)
		if got != want && !*update {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
		if after != "" {
			after = "\n" + after
		}
		blocks[i+1] = body + "----\n" + got + "\n" + after
	}
	if *update {
		if err := os.WriteFile(here+"/"+transcript, []byte(strings.Join(blocks, "\n====\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// check returns what a test of the text says.
func check(t *testing.T, text string) string {
	t.Helper()
	if err := os.WriteFile("CONF", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := ReadFile("CONF")
	switch {
	case err != nil:
	case len(o.Warnings) > 0:
		err = &Diagnostics{Warnings: o.Warnings}
	default:
		return o.ConfigDigest
	}
	return strings.ReplaceAll(strings.TrimSuffix(err.Error(), "\n"), "\x00", `\0`)
}

// validate returns why options that can be read are refused.
func validate(t *testing.T, text string) string {
	t.Helper()
	if err := os.WriteFile("CONF", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := ReadFile("CONF")
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if err := o.Validate(); err != nil {
		return err.Error()
	}
	return "valid"
}
