package msgstore_test

import (
	"fmt"
	"log"
	"os"

	"github.com/natsd/natsd/msgstore"
)

// Open a store, store messages, read them, and close.
func Example() {
	dir, err := os.MkdirTemp("", "msgstore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	host, err := msgstore.NewHost(dir, msgstore.HostOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()

	store, err := msgstore.OpenFileStore(host, msgstore.Config{
		Name:     "ORDERS",
		Subjects: []string{"orders.>"},
	}, msgstore.FileOptions{Account: "$G"})
	if err != nil {
		log.Fatal(err)
	}
	for _, subject := range []string{"orders.new", "orders.paid", "orders.new"} {
		// The call returns when the message is on disk.
		if _, _, err := store.StoreMsg(subject, nil, []byte("hello"), 0); err != nil {
			log.Fatal(err)
		}
	}

	var batch msgstore.Batch
	filter := msgstore.NewFilter("orders.new")
	if _, err := store.LoadBatch(filter, 1, msgstore.BatchLimit{Msgs: 100}, &batch); err != nil {
		log.Fatal(err)
	}
	for _, m := range batch.Msgs {
		fmt.Println(m.Seq, m.Subject, string(m.Data))
	}
	fmt.Println(store.State().Msgs, "messages")
	if err := store.Stop(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 1 orders.new hello
	// 3 orders.new hello
	// 3 messages
}
