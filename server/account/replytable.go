package account

// replyTable finds the response of a key. Keys are random, so some of their bytes
// choose the chain. The zero value is empty; it does not shrink.
type replyTable struct {
	chains []*response // as many as a power of two
	n      int
}

// firstChains is how many chains a table begins with.
const firstChains = 16

// chain is where the response of a key is linked to.
func (t *replyTable) chain(k replyKey) **response {
	h := (uint32(k[0]) | uint32(k[1])<<8 | uint32(k[2])<<16 | uint32(k[3])<<24) * 0x9E3779B1 // Fibonacci hashing
	return &t.chains[(h>>15)&uint32(len(t.chains)-1)]
}

func (t *replyTable) get(k replyKey) *response {
	if t.n == 0 {
		return nil
	}
	r := *t.chain(k)
	for r != nil && r.key != k {
		r = r.next
	}
	return r
}

// put adds a response whose key is not in the table.
func (t *replyTable) put(r *response) {
	if t.n == len(t.chains) {
		t.grow()
	}
	c := t.chain(r.key)
	r.next, *c = *c, r
	t.n++
}

// remove takes out a response that is in the table.
func (t *replyTable) remove(r *response) {
	c := t.chain(r.key)
	for *c != r {
		c = &(*c).next
	}
	*c, r.next = r.next, nil
	t.n--
}

// grow doubles the number of chains.
func (t *replyTable) grow() {
	old := t.chains
	t.chains = make([]*response, max(2*len(old), firstChains))
	for _, r := range old {
		for r != nil {
			next := r.next
			c := t.chain(r.key)
			r.next, *c = *c, r
			r = next
		}
	}
}

// all calls yield for each response; it may be removed then.
func (t *replyTable) all(yield func(*response) bool) {
	for _, r := range t.chains {
		for r != nil {
			next := r.next
			if !yield(r) {
				return
			}
			r = next
		}
	}
}
