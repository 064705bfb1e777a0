// Package jsapi is the JetStream API as values: the JSON types of all requests,
// replies and advisories, the table of errors, and the validation and
// defaulting of configurations. It does no I/O and knows no clock.
//
// JSON members come out in the order of the struct fields, which is the order
// of the reference server. Times are UTC.
package jsapi

// Level is the API level of this server: the sum of features that clients may
// ask for with the header Nats-Required-Api-Level and that assets may need.
const Level = 5
