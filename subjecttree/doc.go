// Package subjecttree holds what NATS subjects are: validation and matching,
// the subscription list that matches a published subject to subscribers, the
// index of a stream's subjects, and subject mappings and transforms.
package subjecttree
