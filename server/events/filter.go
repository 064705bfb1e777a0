package events

import (
	"slices"
	"strings"
)

// Filter says which servers a request is meant for; a server that does not match stays silent.
type Filter struct {
	Name       string   `json:"server_name"`
	Cluster    string   `json:"cluster"`
	Host       string   `json:"host"`
	ExactMatch bool     `json:"exact_match"` // of name, cluster and host; else a part will do
	Tags       []string `json:"tags"`        // all of them
	Domain     string   `json:"domain"`
}

func (f *Filter) matches(i *ServerInfo) bool {
	has := func(value, wanted string) bool {
		if f.ExactMatch {
			return wanted == "" || value == wanted
		}
		return strings.Contains(value, wanted)
	}
	if !has(i.Name, f.Name) || !has(i.Cluster, f.Cluster) || !has(i.Host, f.Host) {
		return false
	}
	for _, wanted := range f.Tags {
		if !slices.ContainsFunc(i.Tags, func(t string) bool { return strings.EqualFold(t, wanted) }) {
			return false
		}
	}
	return f.Domain == "" || i.Domain == f.Domain
}
