package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the output of the examples into docs/storetool.md")

const manual = "../../docs/storetool.md"

// The examples of the manual are run one after the other, and print what it says.
func TestManualExamples(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := filepath.Abs(manual)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	config := `{"name":"ORDERS","subjects":["orders.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","Created":"2026-01-01T00:00:00Z"}`
	messages := `{"account":"$G","stream":"ORDERS","seq":1,"time":"2026-01-01T00:00:01Z","subject":"orders.new","data":"Zmlyc3Q="}
{"account":"$G","stream":"ORDERS","seq":2,"time":"2026-01-01T00:00:02Z","subject":"orders.paid","hdrs":"TkFUUy8xLjANCkE6IDENCg0K","data":"c2Vjb25k"}
{"account":"$G","stream":"ORDERS","seq":3,"time":"2026-01-01T00:00:03Z","subject":"orders.new","data":"dGhpcmQ="}
`
	for name, content := range map[string]string{"orders.json": config, "key": "one secret\n", "key2": "another secret\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, store := range []string{"data", "damaged"} {
		if r := storetool(messages, "import", "-", "--to", store, "--config", "orders.json"); r.code != exitClean {
			t.Fatalf("%+v", r)
		}
	}
	block := filepath.Join("damaged", "jetstream", "$G", "streams", "ORDERS", "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	b[strings.Index(string(b), "second")] ^= 1
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}

	var out []string
	ran := 0
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		command, ok := strings.CutPrefix(lines[i], "    $ storetool ")
		if !ok {
			continue
		}
		ran++
		args := strings.Fields(command)
		for i := range args {
			args[i] = strings.Trim(args[i], "'")
		}
		r := storetool("", args...)
		said := strings.ReplaceAll(r.out+r.err, dir+"/", "/srv/")
		var want []string
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") && !strings.HasPrefix(lines[i+1], "    $ ") {
			i++
			want = append(want, strings.TrimPrefix(lines[i], "    "))
		}
		var got []string
		for line := range strings.Lines(said) {
			got = append(got, strings.TrimRight(line, " \n"))
		}
		for _, line := range got {
			out = append(out, strings.TrimRight("    "+line, " "))
		}
		if !*update && !slices.Equal(got, want) {
			t.Errorf("$ storetool %s\n%s\nthe manual says\n%s", command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if ran < 20 {
		t.Errorf("%d examples", ran)
	}
	if *update {
		if err := os.WriteFile(doc, []byte(strings.Join(out, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The synopsis names every command and every flag, and none that does not exist;
// so do the examples, but for the flags that need another machine.
func TestManualIsComplete(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	synopsis := map[string]string{}
	examples := ""
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^    storetool (\S+) (.*)`).FindStringSubmatch(line); m != nil {
			synopsis[m[1]] += m[2] + "\n"
		}
		if strings.HasPrefix(line, "    $ ") {
			examples += line
		}
	}
	root := command(&tool{})
	known := map[string]bool{}
	for _, c := range root.Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		known[c.Name()] = true
		shown, ok := synopsis[c.Name()]
		if !ok {
			t.Errorf("the synopsis lacks %s", c.Name())
		}
		if !strings.Contains(examples, "$ storetool "+c.Name()+" ") {
			t.Errorf("no example of %s", c.Name())
		}
		flags := map[string]bool{}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			flags["--"+f.Name] = true
			if f.Name != "help" && !strings.Contains(shown, "--"+f.Name) {
				t.Errorf("the synopsis of %s lacks --%s", c.Name(), f.Name)
			}
		})
		for _, f := range regexp.MustCompile(`--[a-z-]+`).FindAllString(shown, -1) {
			if !flags[f] {
				t.Errorf("%s has no flag %s", c.Name(), f)
			}
		}
	}
	for name := range synopsis {
		if !known[name] {
			t.Errorf("there is no command %s", name)
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(string(text), "--"+f.Name) && !strings.Contains(string(text), "-"+f.Shorthand+"`") {
			t.Errorf("the manual lacks --%s", f.Name)
		}
	})
}
