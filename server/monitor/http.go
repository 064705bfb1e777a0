package monitor

import (
	"bytes"
	"encoding/json"
	"expvar"
	"fmt"
	"html"
	"net/http"
	"path"
	"runtime"
)

// Handler serves the documents below basePath, which may be empty and may begin with a slash.
func (m *Monitor) Handler(basePath string) http.Handler {
	base := path.Clean("/" + basePath)
	root := base
	if base == "/" {
		base = ""
	}
	pages := map[string]http.HandlerFunc{
		root:                 func(w http.ResponseWriter, r *http.Request) { m.serveRoot(w, base) },
		base + "/stacksz":    m.inTurn(m.large, serveStacks),
		base + "/debug/vars": m.inTurn(m.large, expvar.Handler().ServeHTTP),
	}
	for _, e := range Endpoints {
		for _, name := range e.Paths {
			t := m.large
			if e.small {
				t = m.small
			}
			pages[base+"/"+name] = m.inTurn(t, func(w http.ResponseWriter, r *http.Request) { m.serve(e, w, r) })
		}
	}
	// Not a http.ServeMux: that one redirects paths it finds unclean.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve := pages[r.URL.Path]; serve != nil {
			serve(w, r)
			return
		}
		giveTime(w, r, 0)
		http.NotFound(w, r)
	})
}

func (m *Monitor) serve(e *Endpoint, w http.ResponseWriter, r *http.Request) {
	q := &query{values: r.URL.Query()}
	options := e.read(q)
	if e.counted && (q.err == nil || e.countsBad) {
		m.count("/" + e.Paths[0])
	}
	if q.err != nil {
		refuse(w, q.err)
		return
	}
	doc, err := e.answer(m, options)
	if err != nil {
		refuse(w, err)
		return
	}
	code := http.StatusOK
	var body []byte
	if x, ok := doc.(exactJSON); ok {
		code, doc = x.overHTTP()
		body, err = json.Marshal(doc)
	} else {
		indent := e.indent
		if indent == "" {
			indent = "  "
		}
		body, err = json.MarshalIndent(doc, "", indent)
	}
	if err != nil {
		m.src.Warnf("Monitoring %s: %v", r.URL.Path, err)
		http.Error(w, "cannot encode the reply", http.StatusInternalServerError)
		return
	}
	setHeaders(w)
	w.WriteHeader(code)
	w.Write(body)
}

func setHeaders(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
}

// refuse answers with the text of an error. http.Error would add a line feed.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status(err))
	w.Write([]byte(err.Error()))
}

func serveStacks(w http.ResponseWriter, _ *http.Request) {
	setHeaders(w)
	w.Write(stacks())
}

const (
	firstStacks = 64 << 10 // bytes tried first
	maxStacks   = 64 << 20 // bytes that a dump of all stacks is cut at
)

// stacks are the stacks of all goroutines.
func stacks() []byte {
	for n := firstStacks; ; n *= 4 {
		buf := make([]byte, min(n, maxStacks))
		if got := runtime.Stack(buf, true); got < len(buf) || n >= maxStacks {
			return buf[:got]
		}
	}
}

func (m *Monitor) serveRoot(w http.ResponseWriter, base string) {
	m.count("/")
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s</title>\n", html.EscapeString(product()))
	b.WriteString("<style>body { font-family: sans-serif; margin: 2em } li { margin: 0.3em }</style>\n</head>\n<body>\n")
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p>Server %s</p>\n<ul>\n", html.EscapeString(product()), html.EscapeString(m.src.Name()))
	link := func(path string) {
		fmt.Fprintf(&b, "<li><a href=\"%s/%s\">%s</a></li>\n", html.EscapeString(base), path, path)
	}
	for _, e := range Endpoints {
		if len(e.Paths) > 0 {
			link(e.Paths[0])
		}
	}
	link("stacksz")
	link("debug/vars")
	b.WriteString("</ul>\n</body>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}
