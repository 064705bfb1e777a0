// Package events is the system account's side of the server: it answers requests on $SYS.REQ, and publishes what happens
// on $SYS.ACCOUNT and $SYS.SERVER.
//
// Nothing is done on the goroutine of a connection but to put work into one of two bounded queues, of requests and of
// events; each has one goroutine while there is something in it. What nobody listens to is not made.
package events
