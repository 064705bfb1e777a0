package conf

import "testing"

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
