// Package account answers who gets a message.
//
// An [Account] is an isolated space of subjects: a subscription list, and a
// snapshot of its exports, imports, mappings and limits. A [Producer] carries
// the messages of one read buffer through it: it matches each message, gives it
// to the [Receiver] of each subscription, and at the end of the buffer flushes
// all receivers once.
//
// A service import is a receiver in the importing account that routes the
// message on in the exporting one. A stream import gives every subscription that
// overlaps it a shadow in the exporting account, which delivers to the same
// receiver. So a delivery is the same thing everywhere, and receivers know
// neither imports nor exports.
package account
