package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDigest(t *testing.T) {
	for _, c := range []struct{ text, digest string }{
		{"", "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"},
		{"port: 14100", "sha256:edb6b5e5245baef9781e94f26dd17615f8400db374124d4c218da0fddce2a21e"},
		{"x = 5\nlogtime: true\nlog_max_num: $x\ncluster { name: \"<c>&\" }", "sha256:c4b3f4cc5268cd0561c7c699de5eed86694b4024d4a5fd3c26c6f4541415391e"},
	} {
		v, err := Parse(c.text, "t.conf")
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got, err := v.Digest(); err != nil || got != c.digest {
			t.Errorf("%q: %s, %v, want %s", c.text, got, err, c.digest)
		}
	}
}

// Values as Go prints them, or the error.
func TestParse(t *testing.T) {
	t.Setenv("CONF_TEST_SIZE", "1mb")
	t.Setenv("CONF_TEST_LIST", "[ a, 2 ]")
	t.Setenv("CONF_TEST_LOOP", "$CONF_TEST_LOOP")
	for _, c := range []struct{ text, want string }{
		{"a: [1,2,3k]", "map[a:[1 2 3000]]"},
		{"a = 3]", "map[a:3]]"},
		{"a: 8kx", "map[a:8kx]"},
		{"a: 10s", "map[a:10s]"},
		{"a: -2ms", "map[a:-2ms]"},
		{"a: 127.0.0.1:4222", "map[a:127.0.0.1:4222]"},
		{"a: 1kbb", "error: expected integer, but got '1kbb'"},
		{"a: 9223372036854775807k", "error: integer '9223372036854775807k' is out of the range"},
		{"a: -9223372036854775807", "map[a:-9223372036854775807]"},
		{"a: -5s", "error: Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got 's' instead.'"},
		{"a: 1.", "error: Parse error on line 1: 'Floats must have a digit after the '.', but got '\x00' instead.'"},
		{"a: 2024-05-06T07:08:09Z", "map[a:2024-05-06 07:08:09 +0000 UTC]"},
		{"a: 2024-05-06\n", `error: Parse error on line 2: 'Expected 'T' in ISO8601 datetime, but found '\n' instead.'`},
		{"a: yes, b: OFF; c: 'yes'", "map[a:true b:false c:yes]"},
		{`a: "x\ty\x41\""`, "map[a:x\ty\x41\"]"},
		{`a: "\q"`, `error: Parse error on line 1: 'Invalid escape character 'q'. Only the following escape characters are allowed: \xXX, \t, \n, \r, \", \\.'`},
		{`a: "\x4z"`, `error: Parse error on line 1: 'Expected two hexadecimal digits after '\x', but got '4z''`},
		{"a (\n line1\n)\nb: 1", "map[a:\n line1\n b:1]"},
		{"a: http://h:80/x#y # c", "map[a:http://h:80/x#y]"},
		{"a { b { c: 1 }; d: 2 }", "map[a:map[b:map[c:1] d:2]]"},
		{"{ \"a\": 1, \"b\": [ ] }\nc: 2", "map[a:1 b:[] c:2]"},
		{"a: $b\nb: 1", "error: variable reference for 'b' on line 1 can not be found"},
		{"b: { x: 1 }\na: $b", "map[a:map[x:1] b:map[x:1]]"},
		{"a: $2a$11$abc", "map[a:$2a$11$abc]"},
		{"a: $CONF_TEST_SIZE, b: $CONF_TEST_LIST", "map[a:1048576 b:[a 2]]"},
		{"a: $CONF_TEST_LOOP", "error: variable reference for 'CONF_TEST_LOOP' on line 1 could not be parsed: variable reference for 'CONF_TEST_LOOP' on line 1 could not be parsed: variable reference cycle for 'CONF_TEST_LOOP'"},
		{"a: 1\na: 2", "map[a:2]"},
		{"cluster{ port: 1 }", "error: Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '1' instead.'"},
		{"a { b }", `error: Parse error on line 1: 'Unexpected map value terminator "}".'`},
		{"a {\n b: 1", "error: Parse error on line 2: 'Expected a map value terminator \",\" or a map terminator \"}\", but got '\x00' instead.'"},
		{"a\n", "error: config is invalid (t.conf:2:1)"},
		{"a: 1\n}", "map[a:1]"},
		{strings.Repeat("[", 5), "error: config is invalid (t.conf:1:5)"},
		{"a: " + strings.Repeat("[", 1001), "error: values are nested deeper than 1000"},
	} {
		v, err := Parse(c.text, "t.conf")
		got := fmt.Sprint(v)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestPositions(t *testing.T) {
	v, err := Parse("a: 1\n  \"b\": { c: [ 'x' ] }", "t.conf")
	if err != nil {
		t.Fatal(err)
	}
	b := v.Items[1]
	c := b.Value.Items[0]
	for _, p := range []struct {
		got  Pos
		want string
	}{
		{v.Items[0].Pos, "t.conf:1:0"},
		{b.Pos, "t.conf:2:4"},
		{c.Pos, "t.conf:2:10"},
		{c.Value.Elems[0].Pos, "t.conf:2:16"},
	} {
		if p.got.String() != p.want {
			t.Errorf("got %v, want %v", p.got, p.want)
		}
	}
}

// A key counts as used only if a variable referred to its last definition.
func TestUsed(t *testing.T) {
	v, err := Parse("A: 1\nB: 2\nx: $A\nA: 3\ny: $B", "t.conf")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, e := range v.Items {
		used[e.Key] = e.Used
	}
	if used["A"] || !used["B"] || used["x"] {
		t.Errorf("used: %v", used)
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("inc/one.conf", "x: 1\ninclude sub/two.conf")
	write("inc/sub/two.conf", "y: 2")
	far := write("far.conf", "z: 3")
	main := write("main.conf", "include inc/one.conf\nm { include '"+far+"' }\nv: $y")
	v, err := ParseFile(main)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := v.String(), "map[m:map[z:3] v:2 x:1 y:2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := v.Items[1].Pos.String(), filepath.Join(dir, "inc/sub/two.conf")+":1:0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	write("a.conf", "include b.conf")
	b := write("b.conf", "include a.conf")
	if _, err := ParseFile(b); err == nil || !strings.HasSuffix(err.Error(), "error parsing include file 'b.conf', include cycle") {
		t.Errorf("cycle: %v", err)
	}
	none := write("none.conf", "include nothing.conf")
	want := "error parsing include file 'nothing.conf', open " + filepath.Join(dir, "nothing.conf") + ": no such file or directory"
	if _, err := ParseFile(none); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Variables that refer to lists of variables must not multiply without bound.
func TestMultiplyingVariables(t *testing.T) {
	var b strings.Builder
	b.WriteString("v0: [ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&b, "v%d: [ %s ]\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("$v%d, ", i-1), 10), ", "))
	}
	if _, err := Parse(b.String(), "t.conf"); err != errNodes {
		t.Errorf("got %v, want %v", err, errNodes)
	}
}

// FuzzParse: any text gives a tree with a digest, or an error; a tree written as JSON is read as the same tree.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"port: 4222\n", "a { b: [ 1, 2.5, x ], c = \"q\\x41\" } # c", "{ \"a\": true }", "a (\n x\n)\n", "V: 1\nx: $V",
		"a: 2024-05-06T07:08:09Z", "a: 127.0.0.1:4222", "a: -5mb; b: 10s, c: 1kbb", "include \"x\"", "a\n\n= {\n}", "$SYS: { x: '$' }",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text, "fuzz.conf")
		if err != nil {
			return
		}
		if _, err := v.Digest(); err != nil {
			t.Fatalf("no digest: %v", err)
		}
	})
}
