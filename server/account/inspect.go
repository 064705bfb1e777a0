package account

import "slices"

// Response is a request to a service that waits for an answer.
type Response struct {
	Subject  string // that the answer is sent to
	Reply    string // where it goes in the importing account
	Import   *ServiceImport
	Measured bool
}

// Responses are requests to the services of the account that wait for answers, at most limit, sorted by subject.
func (a *Account) Responses(limit int) []Response {
	rs := &a.responses
	var list []Response
	rs.mu.Lock()
	for r := range rs.waiting.all {
		if len(list) == limit {
			break
		}
		list = append(list, Response{string(rs.appendReply(nil, r.key, r.probe)), string(r.reply), r.imp, r.probe != nil})
	}
	rs.mu.Unlock()
	slices.SortFunc(list, func(a, b Response) int {
		if a.Subject < b.Subject {
			return -1
		}
		return 1
	})
	return list
}
