package server

import (
	"slices"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/subjecttree"
)

// builtInExports are the services that the system account offers besides those
// that its administrator exports; where one of these covers the same subjects, it
// decides.
func builtInExports(configured []*account.Export) []*account.Export {
	perAccount := func(kind string) *account.Export {
		return &account.Export{Service: true, Subject: "$SYS.REQ.ACCOUNT.*." + kind, TokenPosition: 4, Response: account.Streamed}
	}
	return slices.DeleteFunc([]*account.Export{
		perAccount("CONNZ"),
		perAccount("STATZ"),
		{Service: true, Subject: "$SYS.DEBUG.SUBSCRIBERS"},
		{Service: true, Subject: "$SYS.REQ.USER.*.INFO"},
	}, func(e *account.Export) bool { return exportOf(configured, e.Subject) != nil })
}

// exportOf is the service among exports that has a subject; nil if none has.
func exportOf(exports []*account.Export, subject string) *account.Export {
	for _, e := range exports {
		if e.Service && subjecttree.Subset(subject, e.Subject) {
			return e
		}
	}
	return nil
}

// systemImports are the services of the system account that every other account
// gets under subjects of its own, except those that it imports itself. exports
// are all of the system account.
func (s *Server) systemImports(a *account.Account, own []*account.ServiceImport, exports []*account.Export) []*account.ServiceImport {
	if s.system == nil || a == s.system {
		return nil
	}
	self := a.Name()
	var out []*account.ServiceImport
	for _, i := range []struct {
		local, subject string
		share          bool
	}{
		{"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT." + self + ".CONNZ", false},
		{"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT." + self + ".CONNZ", false},
		{"$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.ACCOUNT." + self + ".STATZ", false},
		{"$SYS.REQ.USER.INFO", "$SYS.REQ.USER." + self + ".INFO", true},
	} {
		if slices.ContainsFunc(own, func(o *account.ServiceImport) bool { return o.Exporter == s.system && o.Local == i.local }) {
			continue
		}
		export := exportOf(exports, i.subject)
		if export == nil || !export.Admits(i.subject, self) {
			continue
		}
		si, err := account.NewServiceImport(a, s.system, i.subject, i.local, export, i.share)
		if err != nil {
			s.log.Errorf("Account %q: system import %q: %v", self, i.local, err)
			continue
		}
		out = append(out, si)
	}
	return out
}
