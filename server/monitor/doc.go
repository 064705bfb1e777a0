// Package monitor makes the documents that monitoring shows of a server, and serves them over HTTP.
//
// Each document is a plain struct whose fields stand in the order of the wire, made by one method of [Monitor].
// [Endpoints] is the table of all of them: the HTTP handler takes the options of a document from a query string, package
// events from the body of a request on $SYS.REQ.
//
// Documents are made of snapshots: no lock of a connection or an account is held while one is sorted or encoded.
package monitor
