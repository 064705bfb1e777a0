package options

import (
	"fmt"

	"github.com/natsd/natsd/subjecttree"
)

// resolve checks exports against accounts and imports against exports.
func resolve(o *Options) []error {
	accounts := make(map[string]*Account, len(o.Accounts))
	for _, a := range o.Accounts {
		accounts[a.Name] = a
	}
	var errs []error
	for _, a := range o.Accounts {
		for i := range a.Exports {
			if err := checkExport(o, accounts, a, &a.Exports[i]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if errs != nil {
		return errs
	}
	for _, a := range o.Accounts {
		for i := range a.Imports {
			if err := checkImport(accounts, a, i); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// kind names an export or import in errors.
func kind(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}

func checkExport(o *Options, accounts map[string]*Account, a *Account, x *Export) error {
	for _, name := range x.Accounts {
		if accounts[name] == nil {
			return fmt.Errorf("%q account not defined for %s export", name, kind(x.Service))
		}
	}
	if !subjecttree.Valid(x.Subject) {
		return fmt.Errorf("Error adding %s export %q: invalid subject", kind(x.Service), x.Subject)
	}
	if n := x.TokenPosition; n != 0 && (n < 0 || n > subjecttree.NumTokens(x.Subject) || subjecttree.Token(x.Subject, n-1) != "*") {
		return fmt.Errorf("Error adding %s export %q: sublist: invalid subject", kind(x.Service), x.Subject)
	}
	if x.Latency == nil {
		return nil
	}
	switch {
	case o.SystemAccount == "" && accounts[DefaultSystemAccount] == nil:
		return fmt.Errorf("Error adding service latency sampling for %q: system account not setup", x.Subject)
	case x.Response != ResponseSingleton:
		return fmt.Errorf("Error adding service latency sampling for %q on subject %q: bad service response type", x.Subject, x.Latency.Subject)
	case !subjecttree.ValidPublish(x.Latency.Subject) || a.exportsService(x.Latency.Subject):
		return fmt.Errorf("Error adding service latency sampling for %q on subject %q: invalid publish subject", x.Subject, x.Latency.Subject)
	}
	return nil
}

// exportsService tells whether a subject is one of the account's services.
func (a *Account) exportsService(subject string) bool {
	for _, x := range a.Exports {
		if x.Service && subjecttree.Subset(subject, x.Subject) {
			return true
		}
	}
	return false
}

// Authorizes returns the export that covers an import by the named account: one of exactly its subject decides, else any
// that contains it and admits the account. It is nil if the import is not authorized.
func (a *Account) Authorizes(service bool, subject, importer string) *Export {
	for i := range a.Exports {
		if x := &a.Exports[i]; x.Service == service && x.Subject == subject {
			if x.admits(subject, importer) {
				return x
			}
			return nil
		}
	}
	for i := range a.Exports {
		if x := &a.Exports[i]; x.Service == service && subjecttree.Subset(subject, x.Subject) && x.admits(subject, importer) {
			return x
		}
	}
	return nil
}

// admits tells whether the named account may import the subject.
func (x *Export) admits(subject, importer string) bool {
	if n := x.TokenPosition; n > 0 && (n > subjecttree.NumTokens(subject) || subjecttree.Token(subject, n-1) != importer) {
		return false
	}
	if len(x.Accounts) == 0 {
		return true
	}
	for _, name := range x.Accounts {
		if name == importer {
			return true
		}
	}
	return false
}

func checkImport(accounts map[string]*Account, a *Account, i int) error {
	m := &a.Imports[i]
	exporter := accounts[m.Account]
	if exporter == nil {
		return fmt.Errorf("%q account not defined for %s import", m.Account, kind(m.Service))
	}
	failed := func(err error) error {
		return fmt.Errorf("Error adding %s import %q: %w", kind(m.Service), m.Subject, err)
	}
	if exporter.Authorizes(m.Service, m.Subject, a.Name) == nil {
		return failed(fmt.Errorf("%s import not authorized", kind(m.Service)))
	}
	return nil
}
