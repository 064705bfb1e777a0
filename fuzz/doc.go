// Package fuzz is documented in its README.
package fuzz
