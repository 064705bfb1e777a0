// Package operator is operator mode: accounts and users that are described by
// JWTs, the keys that are trusted to sign them, and the places where account
// JWTs are kept. Everything but the URL resolver and the directory store is
// values in, values out.
//
// The format of the tokens and their validation are those of
// github.com/nats-io/jwt/v2.
package operator
