package main_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestKeyValue(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	kv := must(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B", History: 5, Description: "test"}))(t)
	if kv.Bucket() != "B" {
		t.Error(kv.Bucket())
	}
	if rev := must(kv.Put(ctx, "a", []byte("1")))(t); rev != 1 {
		t.Errorf("revision %d", rev)
	}
	must(kv.PutString(ctx, "b.c", "2"))(t)
	if e := must(kv.Get(ctx, "a"))(t); string(e.Value()) != "1" || e.Revision() != 1 {
		t.Errorf("%+v", e)
	}
	if _, err := kv.Get(ctx, "none"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Error(err)
	}
	if _, err := kv.Create(ctx, "a", nil); !errors.Is(err, jetstream.ErrKeyExists) {
		t.Error(err)
	}
	must(kv.Create(ctx, "d", []byte("new")))(t)
	must(kv.Update(ctx, "a", []byte("2"), 1))(t)
	if _, err := kv.Update(ctx, "a", []byte("3"), 1); err == nil {
		t.Error("stale update accepted")
	}
	if e := must(kv.GetRevision(ctx, "a", 1))(t); string(e.Value()) != "1" {
		t.Errorf("%+v", e)
	}
	watcher := must(kv.WatchAll(ctx))(t)
	seen := map[string]string{}
	for e := range watcher.Updates() {
		if e == nil {
			break
		}
		seen[e.Key()] = string(e.Value())
	}
	if len(seen) != 3 || seen["a"] != "2" {
		t.Errorf("watched %v", seen)
	}
	check(t, kv.Delete(ctx, "b.c"))
	if e := <-watcher.Updates(); e.Key() != "b.c" || e.Operation() != jetstream.KeyValueDelete {
		t.Errorf("%+v", e)
	}
	check(t, watcher.Stop())
	check(t, kv.Purge(ctx, "d"))
	filtered := must(kv.WatchFiltered(ctx, []string{"a", "d"}, jetstream.IncludeHistory()))(t)
	n := 0
	for e := range filtered.Updates() {
		if e == nil {
			break
		}
		n++
	}
	if n != 3 { // a twice, the purge of d
		t.Errorf("filtered history: %d", n)
	}
	check(t, filtered.Stop())
	one := must(kv.Watch(ctx, "b.*", jetstream.IgnoreDeletes(), jetstream.UpdatesOnly()))(t)
	must(kv.PutString(ctx, "b.x", "y"))(t)
	if e := <-one.Updates(); e.Key() != "b.x" {
		t.Errorf("%+v", e)
	}
	check(t, one.Stop())
	if keys := must(kv.Keys(ctx))(t); len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
	lister := must(kv.ListKeysFiltered(ctx, "b.>"))(t)
	var listed []string
	for k := range lister.Keys() {
		listed = append(listed, k)
	}
	if !slices.Equal(listed, []string{"b.x"}) {
		t.Errorf("listed %v", listed)
	}
	all := must(kv.ListKeys(ctx))(t)
	for range all.Keys() {
	}
	if h := must(kv.History(ctx, "a"))(t); len(h) != 2 {
		t.Errorf("history %v", h)
	}
	check(t, kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
	status := must(kv.Status(ctx))(t)
	if status.History() != 5 || status.Bucket() != "B" {
		t.Errorf("status %+v", status)
	}
	must(js.UpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B", History: 6}))(t)
	must(js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "C"}))(t)
	var names []string
	for n := range js.KeyValueStoreNames(ctx).Name() {
		names = append(names, n)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"B", "C"}) {
		t.Errorf("names %v", names)
	}
	for range js.KeyValueStores(ctx).Status() {
	}
	must(js.KeyValue(ctx, "C"))(t)
	check(t, js.DeleteKeyValue(ctx, "C"))
	if _, err := js.KeyValue(ctx, "C"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Error(err)
	}
}

func TestKeyValueTTL(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	kv := must(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "TTL", LimitMarkerTTL: time.Minute}))(t)
	must(kv.Create(ctx, "k", []byte("v"), jetstream.KeyTTL(time.Minute)))(t)
	if e := must(kv.Get(ctx, "k"))(t); string(e.Value()) != "v" {
		t.Errorf("%+v", e)
	}
	check(t, kv.Purge(ctx, "k", jetstream.PurgeTTL(time.Minute)))
	if _, err := kv.Get(ctx, "k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Error(err)
	}
}

func TestObjectStore(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	obs := must(js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "O", Description: "test"}))(t)
	data := make([]byte, 1<<20)
	rand.Read(data)
	info := must(obs.Put(ctx, jetstream.ObjectMeta{Name: "big", Description: "d"}, bytes.NewReader(data)))(t)
	if info.Size != uint64(len(data)) {
		t.Errorf("%+v", info)
	}
	if got := must(obs.GetBytes(ctx, "big"))(t); !bytes.Equal(got, data) {
		t.Error("content differs")
	}
	must(obs.PutBytes(ctx, "bytes", []byte("b")))(t)
	must(obs.PutString(ctx, "string", "s"))(t)
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, []byte("f"), 0o600))
	must(obs.PutFile(ctx, file))(t)
	back := filepath.Join(t.TempDir(), "back")
	check(t, obs.GetFile(ctx, file, back))
	if b := must(os.ReadFile(back))(t); string(b) != "f" {
		t.Errorf("%q", b)
	}
	if s := must(obs.GetString(ctx, "string"))(t); s != "s" {
		t.Errorf("%q", s)
	}
	r := must(obs.Get(ctx, "bytes"))(t)
	check(t, r.Close())
	must(obs.GetInfo(ctx, "big"))(t)
	check(t, obs.UpdateMeta(ctx, "string", jetstream.ObjectMeta{Name: "renamed"}))
	must(obs.AddLink(ctx, "link", info))(t)
	if got := must(obs.GetBytes(ctx, "link"))(t); !bytes.Equal(got, data) {
		t.Error("content behind the link differs")
	}
	other := must(js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "P"}))(t)
	must(obs.AddBucketLink(ctx, "bucket", other))(t)
	check(t, obs.Delete(ctx, "bytes"))
	if _, err := obs.GetBytes(ctx, "bytes"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Error(err)
	}
	w := must(obs.Watch(ctx))(t)
	n := 0
	for i := range w.Updates() {
		if i == nil {
			break
		}
		n++
	}
	check(t, w.Stop())
	if list := must(obs.List(ctx))(t); len(list) != 5 || n < 5 {
		t.Errorf("%d listed, %d watched", len(list), n)
	}
	st := must(obs.Status(ctx))(t)
	if st.Bucket() != "O" || st.Sealed() {
		t.Errorf("%+v", st)
	}
	must(js.UpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "P", Description: "new"}))(t)
	must(js.ObjectStore(ctx, "P"))(t)
	names := 0
	for range js.ObjectStoreNames(ctx).Name() {
		names++
	}
	for range js.ObjectStores(ctx).Status() {
	}
	if names != 2 {
		t.Errorf("%d stores", names)
	}
	check(t, obs.Seal(ctx))
	if _, err := obs.PutString(ctx, "late", "x"); err == nil {
		t.Error("sealed store takes objects")
	}
	check(t, js.DeleteObjectStore(ctx, "P"))
	if _, err := js.ObjectStore(ctx, "P"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Error(fmt.Errorf("deleted store: %w", err))
	}
}
