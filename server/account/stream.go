package account

import (
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/subjecttree"
)

const (
	// maxShadowDepth bounds the chain of stream imports that a subscription follows,
	// and maxShadows the shadows that it is given at a time: imports that overlap
	// multiply along a chain, and everybody else's wait.
	maxShadowDepth = 16
	maxShadows     = 1 << 14
)

// StreamImport makes the messages of an exporting account visible in an
// importing one, on local subjects.
type StreamImport struct {
	Importer, Exporter *Account
	Subject            string // in the exporting account
	Local              string // in the importing account
	AllowTrace         bool

	toLocal, toSubject *subjecttree.Transform
}

// NewStreamImport returns an import of subject under the local template to
// (empty: the same subject).
func NewStreamImport(importer, exporter *Account, subject, to string, allowTrace bool) (*StreamImport, error) {
	toLocal, toSubject, err := importTransforms(subject, to)
	if err != nil {
		return nil, err
	}
	return &StreamImport{
		Importer: importer, Exporter: exporter, Subject: subject, Local: toLocal.Pattern(), AllowTrace: allowTrace,
		toLocal: toLocal, toSubject: toSubject,
	}, nil
}

// equal tells whether both do the same.
func (imp *StreamImport) equal(o *StreamImport) bool {
	return imp.Importer == o.Importer && imp.Exporter == o.Exporter && imp.Subject == o.Subject && imp.Local == o.Local &&
		imp.AllowTrace == o.AllowTrace && sameTransform(imp.toSubject, o.toSubject)
}

// sameTransform tells whether both make the same of every subject.
func sameTransform(a, b *subjecttree.Transform) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Source() == b.Source() && a.Destination() == b.Destination()
}

// importTransforms are the ways between an exported subject and the local one.
func importTransforms(subject, to string) (toLocal, toSubject *subjecttree.Transform, err error) {
	if to == "" {
		to = subject
	}
	if !subjecttree.Literal(to) {
		to = subjecttree.Placeholders(to)
	}
	if toLocal, err = subjecttree.NewStrictTransform(subject, to); err != nil {
		return nil, nil, err
	}
	toSubject, err = toLocal.Reverse()
	return toLocal, toSubject, err
}

// shadow is what a subscription in an exporting account knows of the one in the
// importing account that it stands for.
type shadow struct {
	imp    *StreamImport
	parent *Sub
	// filter: the subscription overlaps the import without containing it or
	// being inside it, so each local subject is compared.
	filter bool
	depth  int
}

// wire gives s its shadows in the accounts that a imports streams from. The
// set's wiring lock is held.
func (a *Account) wire(s *Sub) {
	left := maxShadows
	a.wireAtMost(s, &left)
	if s.closed.Load() {
		a.unwire(s) // who closed it meanwhile may not have seen that there are some
	}
}

func (a *Account) wireAtMost(s *Sub, left *int) {
	if s.wired.Load() || s.closed.Load() {
		return
	}
	depth := 0
	if s.shadow != nil {
		depth = s.shadow.depth
	}
	if depth >= maxShadowDepth {
		return
	}
	if _, ok := s.To.(*ServiceImport); ok {
		return
	}
	for _, imp := range a.Config().Streams {
		if !subjecttree.Collide(s.Subject, imp.Local) {
			continue
		}
		if *left == 0 {
			return
		}
		*left--
		sh := &Sub{
			Subject: imp.Subject, Queue: s.Queue, SID: s.SID, To: s.To, acc: imp.Exporter,
			shadow: &shadow{imp: imp, parent: s, depth: depth + 1},
		}
		switch {
		case subjecttree.Subset(imp.Local, s.Subject):
		case subjecttree.Subset(s.Subject, imp.Local):
			sh.Subject = string(imp.toSubject.Apply(nil, []byte(s.Subject), nil))
		default:
			sh.shadow.filter = true
		}
		if imp.Exporter.list.Insert(sh.Subject, sh.Queue, sh) != nil {
			continue
		}
		s.shadows = append(s.shadows, sh)
		s.wired.Store(true)
		imp.Exporter.wireAtMost(sh, left)
		imp.Exporter.watches.changed(imp.Exporter, sh)
	}
}

// unwire removes the shadows of s, and theirs.
func (a *Account) unwire(s *Sub) {
	for _, sh := range s.shadows {
		sh.closed.Store(true)
		sh.acc.list.Remove(sh.Subject, sh.Queue, sh)
		sh.acc.unwire(sh)
		sh.acc.watches.changed(sh.acc, sh)
	}
	s.shadows = nil
	s.wired.Store(false)
}

// Shadow tells what s stands for, if it is the shadow of a subscription in
// another account.
func (s *Sub) Shadow() (imp *StreamImport, root *Sub) {
	if s.shadow == nil {
		return nil, s
	}
	imp, root = s.shadow.imp, s
	for root.shadow != nil {
		root = root.shadow.parent
	}
	return imp, root
}

// deliverShadow gives m to the subscription that s stands for, on its local
// subject.
func (p *Producer) deliverShadow(s *Sub, m *Msg) bool {
	local := &p.frame().shadow
	*local = *m
	root := s
	traced := m.Trace != nil
	for root.shadow != nil {
		sh := root.shadow
		parent := sh.parent
		if parent.closed.Load() {
			return false
		}
		subject := local.Subject
		local.Subject = p.Build(len(subject)+len(sh.imp.Local), func(dst []byte) []byte {
			return sh.imp.toLocal.Apply(dst, subject, nil)
		})
		if sh.filter && !subjecttree.Matches(local.Subject, parent.Subject) {
			return false
		}
		if traced {
			local.Trace.Add(msgtrace.Event{Type: msgtrace.StreamExport, Account: sh.imp.Importer.name, To: string(local.Subject)})
			if !sh.imp.AllowTrace {
				traced = false
				if local.Trace.Only {
					return true
				}
				local.Trace = nil
			}
		}
		root = parent
	}
	if local.Trace != nil {
		local.Trace.Shadow = s.Subject
		defer func() { m.Trace.Shadow = "" }()
	}
	return root.To.Deliver(p, root, local)
}
