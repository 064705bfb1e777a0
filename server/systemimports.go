package server

import (
	"slices"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/subjecttree"
)

// systemImports are the services of the system account that every other account
// gets under subjects of its own, except those that it imports itself. Where the
// system account exports such a service by its configuration, exports has it and
// says who may.
func (s *Server) systemImports(a *account.Account, own []*account.ServiceImport, exports []*account.Export) []*account.ServiceImport {
	if s.system == nil || a == s.system {
		return nil
	}
	self := a.Name()
	perAccount := func(kind string) *account.Export {
		return &account.Export{Service: true, Subject: "$SYS.REQ.ACCOUNT.*." + kind, TokenPosition: 4, Response: account.Streamed}
	}
	var out []*account.ServiceImport
	for _, i := range []struct {
		local, subject string
		export         *account.Export
		share          bool
	}{
		{"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT." + self + ".CONNZ", perAccount("CONNZ"), false},
		{"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT." + self + ".CONNZ", perAccount("CONNZ"), false},
		{"$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.ACCOUNT." + self + ".STATZ", perAccount("STATZ"), false},
		{"$SYS.REQ.USER.INFO", "$SYS.REQ.USER." + self + ".INFO", &account.Export{Service: true, Subject: "$SYS.REQ.USER.*.INFO"}, true},
	} {
		if slices.ContainsFunc(own, func(o *account.ServiceImport) bool { return o.Exporter == s.system && o.Local == i.local }) {
			continue
		}
		export := i.export
		if x := slices.IndexFunc(exports, func(e *account.Export) bool { return e.Service && subjecttree.Subset(export.Subject, e.Subject) }); x >= 0 {
			if export = exports[x]; !export.Admits(i.subject, self) {
				continue
			}
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
