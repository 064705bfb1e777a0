package jsapi

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/subjecttree"
)

func testEnvironment() *Environment {
	others := map[string]*StreamConfig{
		"O": {Name: "O", Subjects: []string{"o.>"}, MaxMsgSize: 1000},
		"B": {Name: "B", Subjects: []string{"b.>"}, Sources: []*StreamSource{{Name: "A"}}},
		"C": {Name: "C", Subjects: []string{"c.>"}, Sources: []*StreamSource{{Name: "A", FilterSubject: "a.1"}}},
		"D": {Name: "D", Sources: []*StreamSource{{Name: "O"}}},
		"E": {Name: "E", Sources: []*StreamSource{{Name: "O"}}},
	}
	return &Environment{
		Limits: Unlimited,
		Stream: func(name string) *StreamConfig { return others[name] },
		CheckTransform: func(src, dest string) error {
			_, err := subjecttree.NewTransform(src, dest)
			return err
		},
	}
}

func TestCheckStream(t *testing.T) {
	for _, c := range []struct {
		config  string
		errCode uint16 // 0: valid
		text    string
	}{
		{`{"name":"A"}`, 0, ""},
		{`{"name":"a.b"}`, 10052, `stream name is required and can not contain '.', '*', '>', '\', '/'`},
		{`{"name":""}`, 10052, `stream name is required and can not contain '.', '*', '>', '\', '/'`},
		{`{"name":"A","num_replicas":6}`, 10052, "maximum replicas is 5"},
		{`{"name":"A","num_replicas":-1}`, 10133, "replicas count cannot be negative"},
		{`{"name":"A","max_age":-1}`, 10052, "max age can not be negative"},
		{`{"name":"A","max_age":99999999}`, 10052, "max age needs to be >= 100ms"},
		{`{"name":"A","max_age":1000000000,"duplicate_window":2000000000}`, 10052, "duplicates window can not be larger then max age"},
		{`{"name":"A","duplicate_window":1}`, 10052, "duplicates window needs to be >= 100ms"},
		{`{"name":"A","deny_purge":true,"allow_rollup_hdrs":true}`, 10052, "roll-ups require the purge permission"},
		{`{"name":"A","allow_msg_counter":true,"retention":"workqueue"}`, 10052, "counter stream can only use limits retention"},
		{`{"name":"A","discard_new_per_subject":true}`, 10052, "discard new per subject requires discard new policy to be set"},
		{`{"name":"A","subject_delete_marker_ttl":999999999}`, 10052, "subject delete marker TTL must be at least 1 second"},
		{`{"name":"A","allow_msg_schedules":true,"discard":"new"}`, 10052, "message scheduling cannot use discard new"},
		{`{"name":"A","persist_mode":"async","storage":"memory"}`, 10052, "async persist mode is only supported on file storage"},
		{`{"name":"A","mirror":{"name":"O"},"first_seq":1}`, 10143, "stream mirrors can not have first sequence configured"},
		{`{"name":"A","mirror":{"name":"O"},"max_msg_size":999}`, 10030, "stream mirror must have max message size >= source"},
		{`{"name":"A","sources":[null]}`, 10141, "sourced stream name is invalid"},
		{`{"name":"A","sources":[{"name":"O 1\r\nMSG","external":{"api":"X","deliver":""}}]}`, 10141, "sourced stream name is invalid"},
		{`{"name":"A","sources":[{"name":"O.*","external":{"api":"X","deliver":""}}]}`, 10141, "sourced stream name is invalid"},
		{`{"name":"A","mirror":{"name":"","external":{"api":"X","deliver":""}}}`, 10142, "mirrored stream name is invalid"},
		{`{"name":"A","mirror":{"name":"O\t","external":{"api":"X","deliver":""}}}`, 10142, "mirrored stream name is invalid"},
		{`{"name":"A","sources":[{"name":"O"},{"name":"O"}]}`, 10140, "duplicate source configuration detected"},
		{`{"name":"A","subjects":["a.>"],"sources":[{"name":"B"}]}`, 10052, "detected cycle"},
		{`{"name":"A","subjects":["a.>"],"sources":[{"name":"A"}]}`, 10052, "detected cycle"},
		{`{"name":"A","subjects":["a.>"],"sources":[{"name":"C","filter_subject":"c.x"}]}`, 0, ""},
		{`{"name":"A","sources":[{"name":"D"},{"name":"E"}]}`, 0, ""}, // a diamond is no cycle
		{`{"name":"A","subjects":["a.*","a.b"]}`, 10052, `subject "a.*" overlaps with "a.b"`},
		{`{"name":"A","subjects":[">","*.>","a."]}`, 10052, "invalid subject"},
		{`{"name":"A","subjects":["$JS.>","$JS.API.*"]}`, 10052, `subject "$JS.>" overlaps with "$JS.API.*"`},
		{`{"name":"A","subjects":["a..b"]}`, 10052, "invalid subject"},
		{`{"name":"A","subjects":[">"]}`, 10052, "capturing all subjects requires no-ack to be true"},
		{`{"name":"A","subjects":["$JS.API.x"]}`, 10052, "subjects that overlap with jetstream api require no-ack to be true"},
		{`{"name":"A","subjects":["$JS.EVENT.>"]}`, 0, ""},
		{`{"name":"A","subjects":["$SYS.x"]}`, 10052, "subjects that overlap with system api require no-ack to be true"},
		{`{"name":"A","subjects":["a.>"],"republish":{"src":"a.>","dest":"a.x"}}`, 10052, "stream configuration for republish destination forms a cycle"},
		{`{"name":"A","placement":{"preferred":"x"}}`, 10052, "preferred server not permitted in placement"},
		{`{"name":"A","mirror":{"name":"O","filter_subject":"o..a"}}`, 10049, "subject filter 'o..a' for the mirror invalid subject"},
	} {
		var cfg StreamConfig
		if err := json.Unmarshal([]byte(c.config), &cfg); err != nil {
			t.Fatal(c.config, err)
		}
		err := CheckStream(&cfg, testEnvironment())
		switch {
		case c.errCode == 0 && err != nil:
			t.Errorf("%s: %v", c.config, err)
		case c.errCode != 0 && (err == nil || err.ErrCode != c.errCode || err.Description != c.text):
			t.Errorf("%s:\n got %+v\nwant %d %s", c.config, err, c.errCode, c.text)
		}
	}
}

func TestStreamDefaults(t *testing.T) {
	cfg := StreamConfig{Name: "A", MaxBytes: -7, MaxAge: time.Second, Placement: &Placement{}}
	if err := CheckStream(&cfg, testEnvironment()); err != nil {
		t.Fatal(err)
	}
	SetRequiredLevel(&cfg)
	got, err := json.Marshal(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"A","subjects":["A"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":1000000000,` +
		`"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":1000000000,` +
		`"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,` +
		`"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.req.level":"0"}}`
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		body   string
		strict bool
		text   string // of the error
	}{
		{`{"name":"A"}`, true, ""},
		{`{"NAME":"A"}`, true, ""},
		{`{"x":1}`, true, `invalid JSON: json: unknown field "x"`},
		{`{"x":1}`, false, ""},
		{`{"retention":"x"}`, true, `invalid JSON: can not unmarshal "\"x\""`},
		{`{"compression":"x"}`, true, "invalid JSON: unknown compression algorithm"},
		{``, true, "invalid JSON: unexpected end of JSON input"},
		{`{"name":`, true, "invalid JSON: unexpected EOF"},
		{`{} x`, true, `invalid JSON: invalid character 'x' after top-level value`},
	} {
		var req StreamConfigRequest
		_, err := Decode([]byte(c.body), &req, c.strict)
		if got := ""; err != nil {
			got = err.Description
			if got != c.text {
				t.Errorf("%s: %s, want %s", c.body, got, c.text)
			}
		} else if c.text != "" {
			t.Errorf("%s: no error, want %s", c.body, c.text)
		}
	}
}

// The table in Go is the table of the API.
func TestErrorTable(t *testing.T) {
	data, err := os.ReadFile("errors.json")
	if err != nil {
		t.Fatal(err)
	}
	var table []struct {
		Code        int    `json:"code"`
		ErrCode     uint16 `json:"error_code"`
		Description string `json:"description"`
	}
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table) != len(Errors) {
		t.Fatalf("%d errors, want %d", len(Errors), len(table))
	}
	for i, e := range table {
		if *Errors[i] != (Error{e.Code, e.ErrCode, e.Description}) {
			t.Errorf("%+v, want %+v", *Errors[i], e)
		}
	}
	if got := ErrStreamExternalApiOverlap.With("P", "S").Description; got != "stream external api prefix P must not overlap with S" {
		t.Error(got)
	}
	if got := ErrStreamCreate.Wrap(ErrStreamNotFound); got != ErrStreamNotFound {
		t.Error(got)
	}
}

func FuzzStreamConfig(f *testing.F) {
	f.Add([]byte(`{"name":"A","subjects":["a.>"],"sources":[{"name":"B","subject_transforms":[{"src":"b.*","dest":"c.$1"}]}]}`))
	f.Add([]byte(`{"name":"M","mirror":{"name":"O","external":{"api":"X.API","deliver":"d"}}}`))
	env := testEnvironment()
	f.Fuzz(func(t *testing.T, body []byte) {
		var req StreamConfigRequest
		if _, err := Decode(body, &req, true); err != nil {
			return
		}
		c := &req.StreamConfig
		if CheckStream(c, env) != nil {
			return
		}
		again := *c
		if err := CheckStream(&again, env); err != nil {
			t.Fatalf("%s: valid once, then %v", body, err)
		}
		if !SameStream(c, &again) {
			t.Fatalf("%s: checking twice changes it", body)
		}
		if strings.ContainsAny(c.Name, "./") {
			t.Fatalf("name %q", c.Name)
		}
	})
}

// Subjects that no message could have cost memory by their tokens.
func TestLongSubjects(t *testing.T) {
	longest := strings.Repeat("a.", MaxSubject/2) + "a"
	long := longest + "a"
	for config, errCode := range map[string]uint16{
		`{"name":"A","subjects":["S"]}`:                                                       10052,
		`{"name":"A","mirror":{"name":"O","filter_subject":"S"}}`:                             10049,
		`{"name":"A","mirror":{"name":"O","subject_transforms":[{"src":"S","dest":""}]}}`:     10151,
		`{"name":"A","sources":[{"name":"O","filter_subject":"S"}]}`:                          10049,
		`{"name":"A","sources":[{"name":"O","subject_transforms":[{"src":"S","dest":""}]}]}`:  10145,
		`{"name":"A","sources":[{"name":"S","external":{"api":"x","deliver":""}}]}`:           10141,
		`{"name":"A","sources":[{"name":"O","external":{"api":"S","deliver":""}}]}`:           10052,
		`{"name":"A","sources":[{"name":"O","external":{"api":"x","deliver":"S"}}]}`:          10024,
		`{"name":"A","sources":[{"name":"O","consumer":{"name":"c","deliver_subject":"S"}}]}`: 10215,
		`{"name":"A","subject_transform":{"src":"S","dest":""}}`:                              10155,
	} {
		for subject, want := range map[string]uint16{longest: 0, long: errCode} {
			var c StreamConfig
			if err := json.Unmarshal([]byte(strings.Replace(config, `"S"`, `"`+subject+`"`, 1)), &c); err != nil {
				t.Fatal(err)
			}
			if err := CheckStream(&c, testEnvironment()); want == 0 && err != nil || want != 0 && (err == nil || err.ErrCode != want) {
				t.Errorf("%s with %d bytes: %.200v", config, len(subject), err)
			}
		}
	}
	for subject, want := range map[string]bool{longest: true, long: false} {
		for _, c := range []*ConsumerConfig{{FilterSubject: subject}, {FilterSubjects: []string{subject, "b"}}, {DeliverSubject: subject}} {
			if err := c.Revive("k"); (err == nil) != want {
				t.Errorf("%d bytes: %.200v", len(subject), err)
			}
		}
	}
}
