package subjecttree_test

import (
	"fmt"

	"github.com/natsd/natsd/subjecttree"
)

func Example() {
	fmt.Println(subjecttree.Matches("orders.eu.17", "orders.*.17"))
	fmt.Println(subjecttree.Subset("orders.eu.*", "orders.>"))
	fmt.Println(subjecttree.Collide("orders.eu.*", "orders.*.17"))
	// Output:
	// true
	// true
	// true
}

func ExampleList() {
	list := subjecttree.NewList[string](subjecttree.ListOptions{})
	for _, s := range []subjecttree.Sub[string]{
		{Subject: "orders.*", Value: "audit"},
		{Subject: "orders.new", Queue: "billing", Value: "worker 1"},
		{Subject: "orders.new", Queue: "billing", Value: "worker 2"},
	} {
		if err := list.Insert(s.Subject, s.Queue, s.Value); err != nil {
			fmt.Println(err)
		}
	}
	result := list.Match([]byte("orders.new"))
	fmt.Println(result.Plain, result.Groups[0].Queue, len(result.Groups[0].Members))

	// The hot path keeps a result of its own with a ticket that says whether it holds.
	var own subjecttree.Result[string]
	var ticket subjecttree.Ticket
	list.MatchHeld(&own, &ticket, []byte("orders.old"))
	fmt.Println(own.Plain, ticket.Valid())

	fmt.Println(list.Insert("orders..new", "", "nobody"))
	// Output:
	// [audit] billing 2
	// [audit] true
	// sublist: invalid subject
}

func ExampleIndex() {
	type state struct{ messages uint64 }
	index := subjecttree.NewIndex(func(s *state) (count, bytes uint64) { return s.messages, 0 })
	for _, subject := range []string{"orders.eu.17", "orders.eu.18", "orders.us.17", "orders.eu.17"} {
		index.Upsert([]byte(subject), func(s *state, found bool) { s.messages++ })
	}
	index.Match([]byte("orders.*.17"), func(subject []byte, s *state) {
		fmt.Printf("%s %d\n", subject, s.messages)
	})
	fmt.Println(index.SumMatch([]byte("orders.eu.>")).Count, "messages below orders.eu")
	// Output:
	// orders.eu.17 2
	// orders.us.17 1
	// 3 messages below orders.eu
}

func ExampleTransform() {
	t, err := subjecttree.NewTransform("orders.*.*", "shard.{{partition(4,2)}}.$1.{{left(2,3)}}")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Match("orders.eu.123456", nil))
	_, err = subjecttree.NewTransform("orders.*", "shard.{{wildcard(2)}}")
	fmt.Println(err)
	// Output:
	// shard.2.eu.123 <nil>
	// invalid mapping destination: wildcard index out of range in {{wildcard(2)}}: [2]
}

func ExampleMappings() {
	canary, err := subjecttree.NewMapping("svc.*",
		subjecttree.Destination{Subject: "svc.v2.$1", Weight: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	mappings := subjecttree.NewMappings("", canary)
	for _, n := range []uint32{9, 10} { // instead of math/rand/v2.Uint32N
		subject := []byte("svc.echo")
		if to, mapped := mappings.Apply(nil, subject, func(uint32) uint32 { return n }); mapped {
			subject = to
		}
		fmt.Println(string(subject))
	}
	// Output:
	// svc.v2.echo
	// svc.echo
}
