package server

import (
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/events"
	"github.com/natsd/natsd/server/options"
)

// eventHost is the server as the system account's services see it.
type eventHost Server

func (h *eventHost) server() *Server { return (*Server)(h) }

func (h *eventHost) Noticef(format string, v ...any) { h.log.Noticef(format, v...) }
func (h *eventHost) Warnf(format string, v ...any)   { h.log.Warnf(format, v...) }
func (h *eventHost) Errorf(format string, v ...any)  { h.log.Errorf(format, v...) }
func (h *eventHost) Debugf(format string, v ...any)  { h.log.Debugf(format, v...) }
func (h *eventHost) Tracef(format string, v ...any)  { h.log.Tracef(format, v...) }

func (h *eventHost) Options() *options.Options            { return h.server().Options() }
func (h *eventHost) Describe() events.ServerInfo          { return h.server().describe() }
func (h *eventHost) Info() events.ServerInfo              { return h.server().Info() }
func (h *eventHost) SystemAccount() *account.Account      { return h.system }
func (h *eventHost) Account(name string) *account.Account { return h.accounts.Get(name) }
func (h *eventHost) Tag(a *account.Account) string        { return (*monitored)(h).Tag(a) }
func (h *eventHost) Client(id uint64) *client.Client      { return h.server().Client(id) }
func (h *eventHost) Reload() error                        { return h.server().ReloadFile() }
func (h *eventHost) Go(f func())                          { h.tasks.start(f) }
