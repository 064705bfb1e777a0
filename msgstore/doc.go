// Package msgstore stores the messages of streams in blocks on disk or in memory.
package msgstore
