package auth

import "crypto/subtle"

// Current returns the entry for the user of an earlier table, nil if there is none any more.
func (t *Table) Current(u *User) *User {
	if u.NKey != "" {
		return t.nkeys[u.NKey]
	}
	return t.users[u.Name]
}

// SameSecret tells whether both users log in with the same password; o may be nil.
func (u *User) SameSecret(o *User) bool {
	return o != nil && subtle.ConstantTimeCompare([]byte(u.password), []byte(o.password)) == 1
}
