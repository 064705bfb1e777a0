package options

import (
	"fmt"
	"strings"

	"github.com/natsd/natsd/server/conf"
	"github.com/natsd/natsd/subjecttree"
)

// destination is a destination of a mapping while it is read.
type destination struct {
	MappingDestination
	weightSet bool
}

var mappingTable = func() *table[destination] {
	t := newTable("mappings",
		str("dest", func(d *destination) *string { return &d.Subject }).alias("destination").doc("subject or template"),
		custom("weight", "percentage", func(_ *reader, e *conf.Entry, d *destination) error {
			n, text, err := percent(e.Value)
			switch {
			case err != nil && e.Value.Kind != conf.String:
				return fmt.Errorf("Unknown entry type for weight of %v", e.Value)
			case err != nil, strings.ContainsAny(text, " \t\n"):
				return fmt.Errorf("Invalid weight %q for mapping destination", text)
			case n < 0 || n > 100:
				return fmt.Errorf("Invalid weight %d for mapping destination", n)
			}
			d.Weight, d.weightSet = uint8(n), true
			return nil
		}).doc("share of messages; required").limits("0..100"),
		str("cluster", func(d *destination) *string { return &d.Cluster }).doc("only on servers of this cluster"),
	)
	t.unknown = "Unknown field %q for mapping destination"
	return t
}()

func readGlobalMappings(r *reader, e *conf.Entry, o *Options) (err error) {
	o.Mappings, err = r.mappings(e)
	return err
}

// mappings reads the mappings of an account.
func (r *reader) mappings(e *conf.Entry) ([]Mapping, error) {
	if err := asBlock(e.Value); err != nil {
		return nil, err
	}
	var list []Mapping
	for _, m := range e.Value.Items {
		if m.Used {
			continue
		}
		if !subjecttree.Valid(m.Key) {
			r.errorf(m.Pos, "Subject %q is not a valid subject", m.Key)
			continue
		}
		mapping := Mapping{Subject: m.Key}
		switch m.Value.Kind {
		case conf.String:
			mapping.Destinations = []MappingDestination{{Subject: m.Value.Str, Weight: 100}}
			if err := checkMapping(mapping); err != nil {
				r.errorf(m.Pos, "Error adding mapping for %q to %q : %w", m.Key, m.Value.Str, err)
				continue
			}
		case conf.Array, conf.Map:
			values, single := m.Value.Elems, m.Value.Kind == conf.Map
			if single {
				values = []*conf.Value{m.Value}
			}
			ok := true
			for _, v := range values {
				pos := v.Pos
				if single {
					pos = m.Pos
				}
				d, good := r.destination(m, v, pos)
				mapping.Destinations = append(mapping.Destinations, d)
				ok = ok && good
			}
			if !ok {
				continue
			}
			if err := checkMapping(mapping); err != nil {
				r.errorf(m.Pos, "Error adding mapping for %q : %w", m.Key, err)
				continue
			}
		default:
			r.errorf(m.Pos, "Expected an entry for the mapping destination")
			continue
		}
		list = append(list, mapping)
	}
	return list, nil
}

// destination reads one destination; good tells that it is without error. Errors about the whole of it are reported at pos.
func (r *reader) destination(m *conf.Entry, v *conf.Value, pos conf.Pos) (_ MappingDestination, good bool) {
	if v.Kind != conf.Map {
		r.errorf(pos, "Expected an entry for the mapping destination")
		return MappingDestination{}, false
	}
	d, before := &destination{}, len(r.errors)
	mappingTable.read(r, &conf.Entry{Key: m.Key, Pos: m.Pos, Value: v}, d)
	if len(r.errors) == before && !d.weightSet {
		r.errorf(pos, "Missing weight for mapping destination %q", d.Subject)
	}
	return d.MappingDestination, len(r.errors) == before
}

// checkMapping checks weights and destinations.
func checkMapping(m Mapping) error {
	_, err := m.Compile()
	return err
}

// Compile returns the mapping in the form in which it is applied.
func (m *Mapping) Compile() (*subjecttree.Mapping, error) {
	list := make([]subjecttree.Destination, len(m.Destinations))
	for i, d := range m.Destinations {
		list[i] = subjecttree.Destination{Subject: d.Subject, Weight: d.Weight, Cluster: d.Cluster}
	}
	return subjecttree.NewMapping(m.Subject, list...)
}
