package independent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

// Consumer is a consumer directory.
type Consumer struct {
	Config                       json.RawMessage
	HasState                     bool
	DeliveredConsumer, Delivered uint64
	FloorConsumer, Floor         uint64
	Pending                      map[uint64]Pending
	Redelivered                  map[uint64]uint64
}

// Pending is a delivered, unacknowledged message.
type Pending struct {
	Consumer uint64
	Seconds  int64
}

func (s *Stream) readConsumers(dir, key string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range list {
		if e.Name()[0] == '.' {
			continue // deleted
		}
		c, err := s.readConsumer(filepath.Join(dir, e.Name()), key)
		if err != nil {
			s.problem("consumer %s: %v", e.Name(), err)
			continue
		}
		s.Consumers[e.Name()] = c
	}
}

func (s *Stream) readConsumer(dir, key string) (*Consumer, error) {
	name := filepath.Base(dir)
	inf, err := os.ReadFile(filepath.Join(dir, "meta.inf"))
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(dir, "meta.sum"))
	if err != nil {
		return nil, err
	}
	if fmt.Sprintf("%x", hash(s.Name+"/"+name, inf)) != string(sum) {
		s.problem("consumer %s: meta.sum", name)
	}
	state, err := os.ReadFile(filepath.Join(dir, "o.dat"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if kf, err := os.ReadFile(filepath.Join(dir, "meta.key")); err == nil {
		o, err := openKeyFile(key, s.Account, s.Name+"."+name, kf)
		if err != nil {
			return nil, err
		}
		if inf, err = o.open(inf); err != nil {
			return nil, err
		}
		if len(state) > 0 {
			if state, err = o.open(state); err != nil {
				return nil, err
			}
		}
	} else if key != "" {
		s.problem("consumer %s: no meta.key", name)
	}
	c := &Consumer{Config: inf}
	return c, c.decode(state)
}

func (c *Consumer) decode(b []byte) (err error) {
	defer catch(&err)
	if len(b) == 0 {
		return nil
	}
	r := &cursor{b}
	if head := r.take(2); head[0] != 22 || head[1] != 2 {
		return fmt.Errorf("o.dat %d/%d", head[0], head[1])
	}
	c.HasState = true
	c.FloorConsumer, c.Floor, c.DeliveredConsumer, c.Delivered = r.u(), r.u(), r.u(), r.u()
	if c.FloorConsumer > c.DeliveredConsumer || c.Floor > c.Delivered {
		return fmt.Errorf("floor %d/%d above delivered %d/%d", c.FloorConsumer, c.Floor, c.DeliveredConsumer, c.Delivered)
	}
	c.Pending, c.Redelivered = map[uint64]Pending{}, map[uint64]uint64{}
	if n := r.u(); n > 0 {
		base := r.i()
		for ; n > 0; n-- {
			seq := c.Floor + r.u()
			c.Pending[seq] = Pending{c.FloorConsumer + r.u(), base - r.i()}
			if seq <= c.Floor || seq > c.Delivered {
				return fmt.Errorf("pending %d outside of (%d, %d]", seq, c.Floor, c.Delivered)
			}
		}
	}
	for n := r.u(); n > 0; n-- {
		seq := c.Floor + r.u()
		c.Redelivered[seq] = r.u()
	}
	if len(r.b) > 0 {
		return fmt.Errorf("o.dat: %d bytes too many", len(r.b))
	}
	return nil
}

// object is an unwrapped key file.
type object struct {
	seed, nonce []byte
	aes         bool
}

func openKeyFile(key, account, context string, file []byte) (*object, error) {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(account + context))
	o := &object{aes: len(file) == 64}
	n := 24
	if o.aes {
		n = 16
	}
	if len(file) != n+48 {
		return nil, fmt.Errorf("key file of %d bytes", len(file))
	}
	wrap := &object{seed: m.Sum(nil), aes: o.aes}
	var err error
	o.nonce = file[:n]
	o.seed, err = wrap.open(file)
	return o, err
}

// open decrypts nonce || sealed.
func (o *object) open(b []byte) ([]byte, error) {
	var a cipher.AEAD
	var err error
	if o.aes {
		var block cipher.Block
		if block, err = aes.NewCipher(o.seed); err == nil {
			a, err = cipher.NewGCMWithNonceSize(block, 16)
		}
	} else {
		a, err = chacha20poly1305.NewX(o.seed)
	}
	if err != nil {
		return nil, err
	}
	if len(b) < a.NonceSize() {
		return nil, errors.New("sealed file is short")
	}
	return a.Open(nil, b[:a.NonceSize()], b[a.NonceSize():], nil)
}

// xor decrypts a block from its beginning.
func (o *object) xor(b []byte) {
	if o.aes {
		block, err := aes.NewCipher(o.seed)
		if err != nil {
			panic(err)
		}
		cipher.NewCTR(block, o.nonce).XORKeyStream(b, b)
		return
	}
	c, err := chacha20.NewUnauthenticatedCipher(o.seed, o.nonce)
	if err != nil {
		panic(err)
	}
	c.XORKeyStream(b, b)
}
